// Byte pair encoding of bytes, as GPT-2 has it: a text is cut by GPT-2's pattern, and the bytes of each word are merged
// pair by pair.
#pragma once

#include <array>

#include "merges.h"
#include "model.h"
#include "trie.h"

class BytePairs : public Model {
 public:
  explicit BytePairs(Reader &reader);

  void add(std::string_view text, Tokens &to) const override;

 private:
  struct Scratch;

  void add_words(std::string_view text, Tokens &to) const;
  void merge(std::string_view word, Scratch &scratch, Tokens &to) const;

  bool space_first_;
  std::array<int32_t, 256> bytes_{};  // the tokens of single bytes
  Trie whole_;                        // the words that become one token
  Merges merges_;
};
