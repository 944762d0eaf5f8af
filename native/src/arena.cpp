#include "arena.h"

#include <algorithm>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr size_t line = 64, page = size_t{1} << 21, most = size_t{1} << 23;

size_t whole(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

void Arena::Free::operator()(int8_t *piece) const { ::operator delete(piece, std::align_val_t{page}); }

int8_t *Arena::take(size_t bytes) {
  bytes = whole(bytes, line);
  if (bytes > left_) {
    left_ = whole(std::max(bytes, std::min(most, expected_)), expected_ < page ? line : page);
    pieces_.emplace_back(static_cast<int8_t *>(::operator new(left_, std::align_val_t{page})));
    at_ = pieces_.back().get();
#if defined(__linux__)
    madvise(at_, left_, MADV_HUGEPAGE);  // where it cannot, all goes on as before
#endif
  }
  int8_t *taken = at_;
  at_ += bytes;
  left_ -= bytes;
  expected_ -= std::min(bytes, expected_);
  return taken;
}
