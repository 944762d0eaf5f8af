// The Hugging Face tokenizers library, as tokenizer/tokenizer.rs offers it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Reader;
extern "C" {  // they say on stderr why something failed
Reader* tokenizer_open(const char* path, std::size_t longest, bool cut_left, bool split_special);
std::ptrdiff_t tokenizer_encode(const Reader* reader, const char* first, const char* second, bool around, std::size_t room,
                                std::int64_t* ids, std::int64_t* mask, std::int64_t* type_ids);
std::ptrdiff_t tokenizer_decode(const Reader* reader, const std::int64_t* ids, std::size_t count, std::size_t room, char* text);
void tokenizer_close(Reader* reader);
}

// The tokens of a text or a pair: what a graph may read of them, each of as many values.
struct Tokens {
  std::vector<std::int64_t> ids, mask, type_ids;
};

class Tokenizer {
 public:
  // Cuts at `longest` tokens, 0 for nowhere, at the left where `cut_left`; `split_special`: special tokens in a text are plain text.
  Tokenizer(const std::filesystem::path& bundle, std::size_t longest, bool cut_left, bool split_special)
      : reader_(tokenizer_open((bundle / "tokenizer.json").string().c_str(), longest, cut_left, split_special)) {
    if (!reader_) throw std::runtime_error("tokenizer.json cannot be used");
  }

  // `second`: null for a single text. `around`: with the special tokens that the model wants around it.
  Tokens encode(const std::string& first, const char* second = nullptr, bool around = true) const {
    if (first.find('\0') != std::string::npos) throw std::runtime_error("a text with a zero byte cannot be read");
    Tokens tokens;
    std::size_t room = 0, count = first.size() + 16;  // more tokens than bytes are rare; then it is done again
    while (count > room) {
      room = count;
      for (auto* values : {&tokens.ids, &tokens.mask, &tokens.type_ids}) values->resize(room);
      const std::ptrdiff_t found = tokenizer_encode(reader_.get(), first.c_str(), second, around, room, tokens.ids.data(),
                                                    tokens.mask.data(), tokens.type_ids.data());
      if (found < 0) throw std::runtime_error("the text cannot be made tokens");
      count = static_cast<std::size_t>(found);
    }
    for (auto* values : {&tokens.ids, &tokens.mask, &tokens.type_ids}) values->resize(count);
    return tokens;
  }

  // The text of tokens, without special ones; what is no whole character is U+FFFD.
  std::string decode(const std::vector<std::int64_t>& ids) const {
    std::string text;
    std::size_t room = 0, count = 16 * ids.size();
    while (count > room) {
      room = count;
      text.resize(room);
      const std::ptrdiff_t found = tokenizer_decode(reader_.get(), ids.data(), ids.size(), room, text.data());
      if (found < 0) throw std::runtime_error("the tokens cannot be made text");
      count = static_cast<std::size_t>(found);
    }
    text.resize(count);
    return text;
  }

 private:
  struct Close {
    void operator()(Reader* reader) const { tokenizer_close(reader); }
  };
  std::unique_ptr<Reader, Close> reader_;
};
