#include "byte_pairs.h"

#include <algorithm>
#include <string>

#include "normalizer.h"
#include "unicode.h"

namespace {

enum class Part : uint8_t { letter, number, space, other };

Part part_of(uint16_t flags) {
  return flags & unicode::letter   ? Part::letter
         : flags & unicode::number ? Part::number
         : flags & unicode::white  ? Part::space
                                   : Part::other;
}

// What the character at a place is; the place then is behind it.
Part read_part(std::string_view text, size_t &place, const std::array<Part, 128> &ascii) {
  if (unicode::is_ascii(text[place])) return ascii[static_cast<uint8_t>(text[place++])];
  const char32_t character = unicode::read(text, place);
  const uint16_t flags = unicode::flags_of(character);
  if (flags & unicode::byte_level_unknown) throw UnknownText(character);
  return part_of(flags);
}

// How long 's, 't, 're, 've, 'm, 'll or 'd is, where one begins at an apostrophe.
size_t contraction(std::string_view text, size_t place) {
  const char first = place + 1 < text.size() ? text[place + 1] : '\0';
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const char second = place + 2 < text.size() ? text[place + 2] : '\0';
  return (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l') ? 3 : 0;
}

// Where the word that begins at a place ends, by GPT-2's pattern:
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t word_end(std::string_view text, size_t place, const std::array<Part, 128> &ascii) {
  if (text[place] == '\'')
    if (const size_t length = contraction(text, place)) return place + length;
  size_t end = place, last = place;
  Part part = read_part(text, end, ascii);
  if (text[place] == ' ' && end < text.size()) {
    size_t behind = end;
    if (const Part next = read_part(text, behind, ascii); next != Part::space) {
      part = next;
      end = behind;
    }
  }
  for (size_t next = end; next < text.size();) {
    const size_t here = next;
    if (read_part(text, next, ascii) != part) {
      // The last of several spaces belongs to what follows.
      return part == Part::space && last > place ? last : here;
    }
    last = here;
    end = next;
  }
  return end;
}

}  // namespace

// Words are merged in the order of the tokenizers library: pairs by their rank, then by their place. A pair that waits is
// taken where what stands there now becomes the same token, even if it is made of two others.
struct BytePairs::Scratch {
  struct Symbol {
    int32_t id, before, behind;  // in `symbols`; `none` at the ends, and `id` where it was taken up
  };
  struct Waiting {
    int32_t rank, place, made;
    bool operator<(const Waiting &other) const {  // what goes first is the greatest
      return rank != other.rank ? rank > other.rank : place > other.place;
    }
  };
  std::vector<Symbol> symbols;
  std::vector<Waiting> heap;

  void wait(const Merges &merges, int32_t left, int32_t right) {
    const Merge &merge = merges.find(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
    if (merge.rank == none) return;
    heap.push_back({merge.rank, left, merge.made});
    std::push_heap(heap.begin(), heap.end());
  }
};

BytePairs::BytePairs(Reader &reader) : space_first_(reader.flag()), merges_(reader) {
  for (size_t byte = 0; byte < 256; byte++) {
    bytes_[byte] = static_cast<int32_t>(reader.number()) - 1;
    const bool in_text = byte < 0xC0 || (byte > 0xC1 && byte < 0xF5);  // UTF-8 has no others
    if (in_text && bytes_[byte] == none) Reader::refuse("a byte has no token");
  }
  for (size_t count = reader.count(); count > 0; count--) {
    const std::string_view word = reader.string();
    whole_.add(word, static_cast<int32_t>(reader.number()));
  }
}

void BytePairs::add(std::string_view text, Tokens &to) const {
  if (space_first_ && !text.empty() && text[0] != ' ')
    add_words(" " + std::string(text), to);
  else
    add_words(text, to);
}

void BytePairs::add_words(std::string_view text, Tokens &to) const {
  const std::array<Part, 128> &ascii = unicode::ascii_table<Part, part_of>();
  Scratch scratch;
  for (size_t place = 0; place < text.size() && !to.full();) {
    const size_t end = word_end(text, place, ascii);
    const std::string_view word = text.substr(place, end - place);
    if (const int32_t whole = whole_.number(whole_.find(word)); whole != Trie::nothing)
      to.ids.push_back(whole);
    else
      merge(word, scratch, to);
    place = end;
  }
}

void BytePairs::merge(std::string_view word, Scratch &scratch, Tokens &to) const {
  if (word.size() > INT32_MAX) throw Failure(2, "a word is too long");
  auto &symbols = scratch.symbols;
  auto &heap = scratch.heap;
  const auto count = static_cast<int32_t>(word.size());
  symbols.clear();
  for (int32_t place = 0; place < count; place++)
    symbols.push_back({bytes_[static_cast<uint8_t>(word[static_cast<size_t>(place)])], place - 1,
                       place + 1 < count ? place + 1 : none});
  heap.clear();
  for (int32_t place = 0; place + 1 < count; place++) scratch.wait(merges_, place, place + 1);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Scratch::Waiting first = heap.back();
    heap.pop_back();
    Scratch::Symbol &left = symbols[static_cast<size_t>(first.place)];
    if (left.id == none || left.behind == none) continue;
    Scratch::Symbol &right = symbols[static_cast<size_t>(left.behind)];
    const Merge &now = merges_.find(left.id, right.id);
    if (now.rank == none || now.made != first.made) continue;
    left.id = first.made;
    right.id = none;
    left.behind = right.behind;
    if (left.behind != none) symbols[static_cast<size_t>(left.behind)].before = first.place;
    if (left.before != none) scratch.wait(merges_, left.before, first.place);
    if (left.behind != none) scratch.wait(merges_, first.place, left.behind);
  }
  for (const Scratch::Symbol &symbol : symbols)
    if (symbol.id != none) to.ids.push_back(symbol.id);
}
