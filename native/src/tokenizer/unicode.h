// Characters as the tokenizers library sees them, and UTF-8. The tables are made by scripts/unicode_tables.py.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace unicode {

// What a character is; the bits are those of the script.
enum Flag : uint16_t {
  dropped = 1 << 0,   // by clean_text
  white = 1 << 1,     // the property White_Space
  punctuation = 1 << 2,
  mark = 1 << 3,      // without a width: Mn
  letter = 1 << 4,
  number = 1 << 5,
  stripped = 1 << 6,  // becomes something else without accents
  lowered = 1 << 7,   // has another lower case
  composes = 1 << 8,  // NFC may change it, or what stands beside it
  bert_unknown = 1 << 9,  // versions of Unicode differ, or have not assigned it
  byte_level_unknown = 1 << 10,
};

struct Run {
  uint32_t begin;
  uint8_t kind;
};

struct Change {
  uint32_t from;
  uint32_t to[3];  // up to the first 0
};

uint16_t flags_of(char32_t character);

// What `part_of` makes of the flags of each ASCII character, looked up once.
template <class Part, Part (*part_of)(uint16_t)> const std::array<Part, 128> &ascii_table() {
  static const std::array<Part, 128> parts = [] {
    std::array<Part, 128> made{};
    for (char32_t c = 0; c < 128; c++) made[c] = part_of(flags_of(c));
    return made;
  }();
  return parts;
}

// Without its accents, and in lower case; for characters with that flag, and Hangul.
const Change *find_stripped(char32_t character);
const Change *find_lowered(char32_t character);

inline bool is_hangul(char32_t character) { return character >= 0xAC00 && character < 0xD7A4; }

// Whether these are well-formed UTF-8: no surrogates, nothing longer than it need be.
bool is_valid(std::string_view text);

// The character that begins at `place` of well-formed text, which then is behind it.
inline char32_t read(std::string_view text, size_t &place) {
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(text[at]); };
  const uint8_t first = byte(place);
  if (first < 0x80) return text[place++];
  if (first < 0xE0) {
    place += 2;
    return char32_t(first & 0x1F) << 6 | (byte(place - 1) & 0x3F);
  }
  if (first < 0xF0) {
    place += 3;
    return char32_t(first & 0x0F) << 12 | char32_t(byte(place - 2) & 0x3F) << 6 | (byte(place - 1) & 0x3F);
  }
  place += 4;
  return char32_t(first & 0x07) << 18 | char32_t(byte(place - 3) & 0x3F) << 12 | char32_t(byte(place - 2) & 0x3F) << 6 |
         (byte(place - 1) & 0x3F);
}

inline void append(std::string &text, char32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
    return;
  }
  if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      text += static_cast<char>(0xE0 | c >> 12);
    } else {
      text += static_cast<char>(0xF0 | c >> 18);
      text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    }
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
  }
  text += static_cast<char>(0x80 | (c & 0x3F));
}

inline bool is_ascii(char c) { return static_cast<uint8_t>(c) < 0x80; }

// Made by the script.
extern const uint16_t kinds[];
extern const Run runs[];
extern const size_t run_count;
extern const Change without_accents[], in_lower_case[];
extern const size_t without_accents_count, in_lower_case_count;

}  // namespace unicode
