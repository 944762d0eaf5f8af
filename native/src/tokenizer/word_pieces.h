// WordPiece behind BERT's pre-tokenizer: words between white space and punctuation, cut into the longest pieces that the
// vocabulary has.
#pragma once

#include "model.h"
#include "trie.h"

class WordPieces : public Model {
 public:
  explicit WordPieces(Reader &reader);

  void add(std::string_view text, Tokens &to) const override;

 private:
  void add_word(std::string_view word, Tokens &to) const;

  Trie trie_;
  uint32_t behind_;  // the node behind what stands before a word's other pieces
  int64_t unknown_;
  size_t longest_;  // word, in characters
};
