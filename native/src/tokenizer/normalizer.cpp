#include "normalizer.h"

#include "edgelm_native.h"
#include "unicode.h"

namespace {

std::string hexadecimal(char32_t character) {
  std::string digits;
  for (; character || digits.size() < 4; character >>= 4) digits.insert(digits.begin(), "0123456789ABCDEF"[character & 15]);
  return "U+" + digits;
}

// The ranges of the tokenizers library.
bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

uint16_t known(char32_t character) {
  const uint16_t flags = unicode::flags_of(character);
  if (flags & unicode::bert_unknown) throw UnknownText(character);
  return flags;
}

}  // namespace

UnknownText::UnknownText(char32_t character)
    : Failure(EDGELM_NATIVE_UNKNOWN_TEXT, "versions of Unicode differ in " + hexadecimal(character)) {}

Normalizer::Normalizer(Reader &reader) : kind_(static_cast<Kind>(reader.number(2))) {
  if (kind_ != Kind::bert) return;
  clean_ = reader.flag();
  chinese_ = reader.flag();
  strip_ = reader.flag();
  lower_ = reader.flag();
  for (char32_t c = 0; c < 128; c++) {
    const uint16_t flags = unicode::flags_of(c);
    dropped_[c] = clean_ && (flags & unicode::dropped);
    ascii_[c] = clean_ && (flags & unicode::white) ? ' ' : static_cast<char>(c);
    if (lower_ && c >= 'A' && c <= 'Z') ascii_[c] = static_cast<char>(c + ('a' - 'A'));
  }
}

std::string_view Normalizer::operator()(std::string_view text, std::string &room) const {
  if (kind_ == Kind::bert) {
    room.clear();
    bert(text, room);
    return room;
  }
  if (kind_ == Kind::nfc)
    for (size_t place = 0; place < text.size();) {
      const char32_t character = unicode::read(text, place);
      if (character >= 0x80 && (unicode::flags_of(character) & (unicode::composes | unicode::byte_level_unknown)))
        throw UnknownText(character);
    }
  return text;
}

void Normalizer::bert(std::string_view text, std::string &to) const {
  to.reserve(text.size() + text.size() / 4);
  for (size_t place = 0; place < text.size();) {
    if (unicode::is_ascii(text[place])) {
      const auto c = static_cast<uint8_t>(text[place++]);
      if (!dropped_[c]) to += ascii_[c];
      continue;
    }
    const char32_t character = unicode::read(text, place);
    const uint16_t flags = known(character);
    if (clean_ && (flags & unicode::dropped)) continue;
    if (clean_ && (flags & unicode::white)) {
      to += ' ';
      continue;
    }
    const bool apart = chinese_ && is_chinese(character);
    if (apart) to += ' ';
    if (strip_)
      add_stripped(character, to);
    else
      add_lowered(character, flags, to);
    if (apart) to += ' ';
  }
}

// By NFD, without marks. Marks that change places are none that stay.
void Normalizer::add_stripped(char32_t character, std::string &to) const {
  const uint16_t flags = unicode::flags_of(character);
  if (flags & unicode::mark) return;
  if (unicode::is_hangul(character)) {
    const char32_t syllable = character - 0xAC00, end = syllable % 28;
    unicode::append(to, 0x1100 + syllable / 588);
    unicode::append(to, 0x1161 + syllable % 588 / 28);
    if (end) unicode::append(to, 0x11A7 + end);
    return;
  }
  const unicode::Change *change = flags & unicode::stripped ? unicode::find_stripped(character) : nullptr;
  if (!change) return add_lowered(character, flags, to);
  for (const uint32_t part : change->to)
    if (part) add_lowered(part, known(part), to);
}

void Normalizer::add_lowered(char32_t character, uint16_t flags, std::string &to) const {
  const unicode::Change *change = lower_ && (flags & unicode::lowered) ? unicode::find_lowered(character) : nullptr;
  if (!change) return unicode::append(to, character);
  for (const uint32_t part : change->to)
    if (part) unicode::append(to, part);
}
