// Tokens become text as they come: whole characters alone, and nothing of a stop string.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer.h"

// Lets text through up to the first of some strings; what may be the beginning of one is held back until it is known.
class StopStrings {
 public:
  explicit StopStrings(const std::vector<std::string>& stops);

  bool found() const { return found_; }

  // What can be said of the text so far, beyond what was said.
  std::string operator()(std::string text);

  // What was held back, where no more text comes.
  std::string rest();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

// Decodes one token after another. A token is decoded with those since the last whole character and the ones that gave that: it may be a
// part of a character, and whether a blank stands before it depends on what it follows.
class TextStream {
 public:
  // `before`: tokens that the first one follows; empty: a text begins.
  TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops, const std::vector<std::int64_t>& before);

  bool stopped() const { return stops_.found(); }

  // The text that can be said with one more token; often none.
  std::string push(std::int64_t token);

  // The rest, where no more token comes: with what is no whole character, as U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  StopStrings stops_;
  std::vector<std::int64_t> window_;  // tokens that are decoded together
  std::string said_;                  // what of their text was given out
  std::size_t known_;                 // tokens of the window whose text that is
};
