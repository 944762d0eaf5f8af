// The text of a program: words between white space, then bytes that its places name.
#pragma once

#include <cstdlib>
#include <cstring>

#include "program.h"

class Text {
 public:
  Text(const char *text, size_t bytes, const uint8_t *weights, size_t weights_bytes)
      : at_(text), end_(text + bytes), weights_(weights), weights_bytes_(weights_bytes) {}

  [[noreturn]] static void refuse(const std::string &why) { throw Failure(1, "damaged program: " + why); }

  std::string word() {
    while (at_ < end_ && is_space(*at_)) at_++;
    const char *begin = at_;
    while (at_ < end_ && !is_space(*at_)) at_++;
    if (begin == at_) refuse("it ends too early");
    return {begin, at_};
  }

  int64_t integer(int64_t low, int64_t high) {
    const std::string found = word();
    char *rest = nullptr;
    const long long value = std::strtoll(found.c_str(), &rest, 10);
    if (*rest || value < low || value > high) refuse("not a number between the limits: " + found.substr(0, 40));
    return value;
  }

  size_t count() { return static_cast<size_t>(integer(0, int64_t{1} << 31)); }

  // By its bits, which are exact and know no decimal comma.
  float number() {
    const auto bits = static_cast<uint32_t>(integer(0, UINT32_MAX));
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (!(value > -3e38f && value < 3e38f)) refuse("a number that is not finite");
    return value;
  }

  void expect(const char *wanted) {
    const std::string found = word();
    if (found != wanted) refuse("'" + found.substr(0, 40) + "' where '" + wanted + "' belongs");
  }

  // What follows the words: called before places are resolved.
  void find_data() {
    static const char mark[] = "\ndata\n";
    for (const char *p = at_; p + sizeof mark - 1 <= end_; p++)
      if (!std::memcmp(p, mark, sizeof mark - 1)) {
        data_ = reinterpret_cast<const uint8_t *>(p + sizeof mark - 1);
        data_bytes_ = static_cast<size_t>(end_ - p) - (sizeof mark - 1);
        end_ = p + 1;
        return;
      }
    refuse("it has no data");
  }

  // A place (`w:OFFSET` in the weights, `d:OFFSET` behind the words) of this many bytes; null for `-`.
  const uint8_t *place(size_t bytes) {
    const std::string found = word();
    if (found == "-") return nullptr;
    char *rest = nullptr;
    if (found.size() < 3 || found[1] != ':' || found[2] < '0' || found[2] > '9') refuse("no place: " + found.substr(0, 40));
    const unsigned long long offset = std::strtoull(found.c_str() + 2, &rest, 10);
    const bool outside = found[0] == 'w';
    const size_t there = outside ? weights_bytes_ : data_bytes_;
    if (*rest || (found[0] != 'w' && found[0] != 'd') || offset > there || bytes > there - offset)
      refuse("a place beyond the end of the " + std::string(outside ? "weights" : "program"));
    return (outside ? weights_ : data_) + offset;
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\n'; }

  const char *at_, *end_;
  const uint8_t *weights_, *data_ = nullptr;
  size_t weights_bytes_, data_bytes_ = 0;
};
