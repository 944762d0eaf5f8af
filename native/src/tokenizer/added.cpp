#include "added.h"

#include "unicode.h"

AddedTokens::AddedTokens(Reader &reader, bool skip_special) {
  for (size_t count = reader.count(); count > 0; count--) {
    const std::string_view content = reader.string();
    const auto id = static_cast<int32_t>(reader.number());
    const uint32_t flags = reader.number(7);
    if (content.empty()) Reader::refuse("an added token is empty");
    if (!unicode::is_valid(content)) Reader::refuse("an added token is no UTF-8");
    trie_.add(content, static_cast<int32_t>(tokens_.size()));
    begins_[static_cast<uint8_t>(content[0])] = true;
    tokens_.push_back({skip_special && (flags & 4) ? none : id, (flags & 1) != 0, (flags & 2) != 0});
  }
}

const AddedTokens::Token *AddedTokens::find(std::string_view text, size_t place, size_t &length) const {
  int32_t found = Trie::nothing;
  uint32_t node = Trie::root;
  for (size_t at = place; at < text.size() && (node = trie_.next(node, text[at])); at++)
    if (trie_.number(node) != Trie::nothing) {
      found = trie_.number(node);
      length = at + 1 - place;
    }
  return found == Trie::nothing ? nullptr : &tokens_[static_cast<size_t>(found)];
}

namespace {

// Where the white space before a place begins, and where that behind it ends.
size_t white_before(std::string_view text, size_t place) {
  while (place > 0) {
    size_t begin = place - 1;
    while (begin > 0 && (text[begin] & 0xC0) == 0x80) begin--;
    size_t end = begin;
    if (!(unicode::flags_of(unicode::read(text, end)) & unicode::white)) break;
    place = begin;
  }
  return place;
}

size_t white_behind(std::string_view text, size_t place) {
  while (place < text.size()) {
    size_t end = place;
    if (!(unicode::flags_of(unicode::read(text, end)) & unicode::white)) break;
    place = end;
  }
  return place;
}

}  // namespace

std::vector<Piece> AddedTokens::cut(std::string_view text) const {
  std::vector<Piece> pieces;
  size_t done = 0, length = 0;
  for (size_t place = 0; place < text.size(); place++) {
    if (!begins_[static_cast<uint8_t>(text[place])]) continue;
    const Token *token = find(text, place, length);
    if (!token) continue;
    size_t begin = place, end = place + length;
    place = end - 1;
    if (token->id == none) continue;
    if (token->left) begin = std::max(white_before(text, begin), done);
    if (token->right) end = white_behind(text, end);
    begin = std::min(begin, end);
    if (done < begin) pieces.push_back({none, text.substr(done, begin - done)});
    pieces.push_back({token->id, text.substr(begin, end - begin)});
    done = end;
  }
  if (done < text.size()) pieces.push_back({none, text.substr(done)});
  return pieces;
}
