// Tokens that are found in a text before it is cut into words: special ones, and those that were added.
#pragma once

#include <array>
#include <vector>

#include "reader.h"
#include "trie.h"

// A part of a text: an added token, or (`none`) what stands between them.
struct Piece {
  int32_t id;
  std::string_view text;
};

class AddedTokens {
 public:
  // Reads them; those that `skip_special` leaves in the text, though nothing else is found in them, have no id.
  AddedTokens(Reader &reader, bool skip_special);
  AddedTokens() = default;

  bool empty() const { return tokens_.empty(); }

  // Cuts a text in order; the longest token that begins first is taken first.
  std::vector<Piece> cut(std::string_view text) const;

 private:
  struct Token {
    int32_t id;
    bool left, right;  // takes the white space there with it
  };

  // The token that begins at a place, and how long it is.
  const Token *find(std::string_view text, size_t place, size_t &length) const;

  std::vector<Token> tokens_;
  Trie trie_;
  std::array<bool, 256> begins_{};
};
