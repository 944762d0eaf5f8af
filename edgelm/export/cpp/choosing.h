// Chooses the next token: changes the logits as the settings say, in transformers' order, then takes the likeliest or draws one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "settings.h"

class Chooser {
 public:
  // Throws where the settings name a token that the model does not have.
  Chooser(const Settings& settings, std::size_t vocabulary);

  // `tokens`: of the text so far, of which `written` were written; `logits`: of the next.
  std::int64_t operator()(const std::vector<std::int64_t>& tokens, std::size_t written, std::vector<float> logits);

 private:
  Settings settings_;
  std::mt19937_64 random_;
};
