// Byte pair encoding's merges: which two tokens become one, and which pair goes first.
#pragma once

#include <vector>

#include "reader.h"

struct Merge {
  uint64_t pair = 0;
  int32_t rank = none, made = none;  // what goes first has the lowest rank
};

class Merges {
 public:
  explicit Merges(Reader &reader);

  // What two tokens become; the rank is `none` where they stay apart.
  const Merge &find(int32_t left, int32_t right) const { return slots_[slot(pair_of(left, right))]; }

 private:
  static uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  size_t slot(uint64_t pair) const {
    size_t at = static_cast<size_t>(pair * 0x9E3779B97F4A7C15u >> shift_);
    while (slots_[at].rank != none && slots_[at].pair != pair) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  std::vector<Merge> slots_;
  int shift_ = 60;
};
