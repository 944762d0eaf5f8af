// The file `native.tokenizer`, byte by byte: whole numbers in groups of 7 bits, lowest first, and strings behind their
// lengths. Edgelm's exporter writes it (edgelm/bundles/native_tokenizer); what is damaged ends in a Failure.
#pragma once

#include <string_view>

#include "../program.h"  // Failure

class Reader {
 public:
  Reader(const void *data, size_t bytes) : at_(static_cast<const uint8_t *>(data)), end_(at_ + bytes) {}

  [[noreturn]] static void refuse(const std::string &why) { throw Failure(1, "damaged tokenizer: " + why); }

  uint32_t number(uint32_t most = INT32_MAX) {
    uint64_t found = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      if (at_ == end_) refuse("it ends too early");
      const uint8_t byte = *at_++;
      found |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) {
        if (found > most) refuse("the number " + std::to_string(found) + ", where at most " + std::to_string(most) + " belongs");
        return static_cast<uint32_t>(found);
      }
    }
    refuse("a number that does not end");
  }

  bool flag() { return number(1) != 0; }

  // Of entries that have at least one byte each.
  size_t count() {
    const size_t found = number();
    if (found > static_cast<size_t>(end_ - at_)) refuse("it ends too early");
    return found;
  }

  // A view of the file, as long as that lives.
  std::string_view string() {
    const size_t bytes = count();
    const auto *begin = reinterpret_cast<const char *>(at_);
    at_ += bytes;
    return {begin, bytes};
  }

  bool begins_with(std::string_view mark) {
    if (static_cast<size_t>(end_ - at_) < mark.size() ||
        std::string_view(reinterpret_cast<const char *>(at_), mark.size()) != mark)
      return false;
    at_ += mark.size();
    return true;
  }

  void expect_end() {
    if (at_ != end_) refuse("something follows its end");
  }

 private:
  const uint8_t *at_, *end_;
};
