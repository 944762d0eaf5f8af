#include "word_pieces.h"

#include <array>

#include "normalizer.h"
#include "unicode.h"

namespace {

enum class Part : uint8_t { word, space, sign };

Part part_of(uint16_t flags) {
  return flags & unicode::white ? Part::space : flags & unicode::punctuation ? Part::sign : Part::word;
}

size_t characters(std::string_view word) {
  size_t found = 0;
  for (const char byte : word) found += (byte & 0xC0) != 0x80;
  return found;
}

}  // namespace

WordPieces::WordPieces(Reader &reader) {
  const std::string_view prefix = reader.string();
  unknown_ = reader.number();
  longest_ = reader.number();
  int64_t id = -1;
  for (size_t count = reader.count(); count > 0; count--) {
    id += 1 + reader.number();
    if (id > INT32_MAX) Reader::refuse("an id is too large");
    trie_.add(reader.string(), static_cast<int32_t>(id));
  }
  behind_ = trie_.find(prefix);
}

void WordPieces::add(std::string_view text, Tokens &to) const {
  const std::array<Part, 128> &ascii = unicode::ascii_table<Part, part_of>();
  size_t begin = 0, place = 0;
  const auto end_word = [&](size_t end) {
    if (begin < end) add_word(text.substr(begin, end - begin), to);
  };
  while (place < text.size() && !to.full()) {
    const size_t here = place;
    Part part;
    if (unicode::is_ascii(text[place])) {
      part = ascii[static_cast<uint8_t>(text[place++])];
    } else {
      const char32_t character = unicode::read(text, place);
      const uint16_t flags = unicode::flags_of(character);
      if (flags & unicode::bert_unknown) throw UnknownText(character);
      part = part_of(flags);
    }
    if (part == Part::word) continue;
    end_word(here);
    if (part == Part::sign) add_word(text.substr(here, place - here), to);
    begin = place;
  }
  end_word(place);
}

void WordPieces::add_word(std::string_view word, Tokens &to) const {
  if (word.size() > longest_ && characters(word) > longest_) {
    to.ids.push_back(unknown_);
    return;
  }
  const size_t before = to.ids.size();
  for (size_t at = 0; at < word.size();) {
    int32_t found = Trie::nothing;
    size_t end = at;
    uint32_t node = at ? behind_ : Trie::root;
    for (size_t next = at; node && next < word.size() && (node = trie_.next(node, word[next])); next++)
      if (trie_.number(node) != Trie::nothing) {
        found = trie_.number(node);
        end = next + 1;
      }
    if (found == Trie::nothing) {
      to.ids.resize(before);
      to.ids.push_back(unknown_);
      return;
    }
    to.ids.push_back(found);
    at = end;
  }
}
