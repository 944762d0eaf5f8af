// A tokenizer: a text, or a pair of texts, to the ids that a model reads.
#pragma once

#include "added.h"
#include "model.h"
#include "normalizer.h"

// What stands around texts: special tokens, and the places of the texts; each with its type.
struct TemplatePiece {
  enum class Kind : uint32_t { special, first, second } kind;
  int64_t id, type;
};

class Tokenizer {
 public:
  // Raises Failure for a file that is damaged, or newer.
  Tokenizer(const void *file, size_t bytes);

  struct Padding {
    int64_t id, type;
  };
  Padding padding() const { return padding_; }

  // Of a sequence, in tokens.
  size_t longest() const { return longest_; }

  // Writes ids and types, of which there is room for so many, and returns how many there are. `pair`: with
  // another text; both must be well-formed UTF-8. Raises Failure.
  size_t encode(std::string_view text, const std::string_view *pair, int64_t *ids, int64_t *types, size_t room) const;

 private:
  struct Template {
    std::vector<TemplatePiece> pieces;
    size_t specials = 0;
  };

  Template read_template(Reader &reader, bool pair) const;
  Tokens tokens_of(std::string_view text, size_t enough) const;
  void add_normalized(std::string_view text, Tokens &to, std::string &room) const;

  size_t longest_ = 0;
  bool from_left_ = true;
  Padding padding_{};
  Template single_, double_;
  std::unique_ptr<Normalizer> normalizer_;
  AddedTokens added_, added_normalized_;  // found before normalizing, and after it
  std::unique_ptr<Model> model_;
};
