#include "unicode.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace unicode {

namespace {

constexpr char32_t plane = 0x10000;  // the first, where nearly all text is

// The flags of the first plane, each in its place: found at once.
const std::vector<uint16_t> &first_plane() {
  static const std::vector<uint16_t> flags = [] {
    std::vector<uint16_t> made(plane);
    for (size_t run = 0; run < run_count && runs[run].begin < plane; run++) {
      const size_t end = run + 1 < run_count ? std::min<size_t>(runs[run + 1].begin, plane) : plane;
      std::fill(made.begin() + runs[run].begin, made.begin() + static_cast<ptrdiff_t>(end), kinds[runs[run].kind]);
    }
    return made;
  }();
  return flags;
}

const Change *find(const Change *changes, size_t count, char32_t character) {
  const Change *found = std::lower_bound(changes, changes + count, character,
                                         [](const Change &change, char32_t wanted) { return change.from < wanted; });
  return found != changes + count && found->from == character ? found : nullptr;
}

}  // namespace

uint16_t flags_of(char32_t character) {
  static const uint16_t *first = first_plane().data();
  if (character < plane) return first[character];
  const Run *after = std::upper_bound(runs, runs + run_count, character,
                                      [](char32_t wanted, const Run &run) { return wanted < run.begin; });
  return kinds[(after - 1)->kind];
}

const Change *find_stripped(char32_t character) { return find(without_accents, without_accents_count, character); }

const Change *find_lowered(char32_t character) { return find(in_lower_case, in_lower_case_count, character); }

bool is_valid(std::string_view text) {
  const auto *at = reinterpret_cast<const uint8_t *>(text.data());
  const uint8_t *const end = at + text.size();
  while (at < end) {
    for (uint64_t eight; end - at >= 8; at += 8) {  // most text is ASCII
      std::memcpy(&eight, at, 8);
      if (eight & 0x8080808080808080u) break;
    }
    if (at == end) break;
    const uint8_t first = *at;
    if (first < 0x80) {
      at++;
      continue;
    }
    const int more = first < 0xC2 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : 0;
    if (!more || end - at <= more) return false;
    const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) return false;
    for (int byte = 2; byte <= more; byte++)
      if ((at[byte] & 0xC0) != 0x80) return false;
    at += more + 1;
  }
  return true;
}

}  // namespace unicode
