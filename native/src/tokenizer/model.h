// What cuts a text without added tokens into tokens.
#pragma once

#include <memory>
#include <vector>

#include "reader.h"

// The tokens of a text. Once `enough` is reached, no more are needed.
struct Tokens {
  std::vector<int64_t> ids;
  size_t enough;

  bool full() const { return ids.size() >= enough; }
};

class Model {
 public:
  virtual ~Model() = default;

  // Adds the tokens of a text, which is well-formed UTF-8 and normalized.
  virtual void add(std::string_view text, Tokens &to) const = 0;
};

std::unique_ptr<Model> read_model(Reader &reader);
