#include "merges.h"

Merges::Merges(Reader &reader) : slots_(16) {
  const size_t count = reader.count();
  for (; slots_.size() < count * 2; shift_--) slots_.resize(slots_.size() * 2);
  for (size_t rank = 0; rank < count; rank++) {
    const auto left = static_cast<int32_t>(reader.number()), right = static_cast<int32_t>(reader.number());
    const uint64_t pair = pair_of(left, right);
    slots_[slot(pair)] = {pair, static_cast<int32_t>(rank), static_cast<int32_t>(reader.number())};
  }
}
