// Memory for what is packed once and read by every call: in few large pieces, where the system can map it by large pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

class Arena {
 public:
  // `expected`: bytes that will be taken at most, as far as one knows.
  explicit Arena(size_t expected = 0) : expected_(expected) {}

  // From the beginning of a line of the cache; what lies there has never been written. Raises std::bad_alloc.
  int8_t *take(size_t bytes);

 private:
  struct Free {
    void operator()(int8_t *piece) const;
  };

  std::vector<std::unique_ptr<int8_t, Free>> pieces_;
  int8_t *at_ = nullptr;
  size_t left_ = 0, expected_;
};
