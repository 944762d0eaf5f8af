// Normalizers: BERT's, and NFC of texts that it leaves as they are.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "reader.h"

// Raised for a text alone: no table here is sure of one of its characters, and another tokenizer must take it.
struct UnknownText : Failure {
  explicit UnknownText(char32_t character);
};

class Normalizer {
 public:
  explicit Normalizer(Reader &reader);

  // The text, or what it becomes: that is written into `room`.
  std::string_view operator()(std::string_view text, std::string &room) const;

 private:
  enum class Kind : uint32_t { nothing, bert, nfc };

  void bert(std::string_view text, std::string &to) const;
  void add_stripped(char32_t character, std::string &to) const;
  void add_lowered(char32_t character, uint16_t flags, std::string &to) const;

  Kind kind_;
  bool clean_ = false, chinese_ = false, strip_ = false, lower_ = false;
  std::array<char, 128> ascii_{};
  std::array<bool, 128> dropped_{};
};
