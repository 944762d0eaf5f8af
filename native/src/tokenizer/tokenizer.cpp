#include "tokenizer.h"

#include <algorithm>

#include "byte_pairs.h"
#include "unicode.h"
#include "word_pieces.h"

namespace {

constexpr uint32_t most_pieces = 64, most_tokens = 1u << 24;

struct Part {
  const int64_t *begin;
  size_t count;
};

// What is kept of some tokens: their beginning, or their end.
Part kept(const Tokens &tokens, size_t count, bool from_left) {
  return {tokens.ids.data() + (from_left ? 0 : tokens.ids.size() - count), count};
}

}  // namespace

std::unique_ptr<Model> read_model(Reader &reader) {
  if (reader.flag()) return std::make_unique<BytePairs>(reader);
  return std::make_unique<WordPieces>(reader);
}

Tokenizer::Tokenizer(const void *file, size_t bytes) {
  Reader reader(file, bytes);
  if (!reader.begins_with("edgelm-tokenizer 1\n"))
    throw Failure(1, reader.begins_with("edgelm-tokenizer ") ? "the tokenizer is of a newer edgelm"
                                                             : "damaged tokenizer: another beginning");
  longest_ = reader.number(most_tokens);
  from_left_ = reader.flag();
  padding_.id = reader.number();
  padding_.type = reader.number();
  const bool skip_special = reader.flag();
  single_ = read_template(reader, false);
  double_ = read_template(reader, true);
  if (longest_ <= std::max(single_.specials, double_.specials)) Reader::refuse("no text fits between its special tokens");
  normalizer_ = std::make_unique<Normalizer>(reader);
  added_ = AddedTokens(reader, skip_special);
  added_normalized_ = AddedTokens(reader, skip_special);
  model_ = read_model(reader);
  reader.expect_end();
}

Tokenizer::Template Tokenizer::read_template(Reader &reader, bool pair) const {
  Template read;
  size_t firsts = 0, seconds = 0;
  for (uint32_t count = reader.number(most_pieces); count > 0; count--) {
    const auto kind = static_cast<TemplatePiece::Kind>(reader.number(2));
    const int64_t id = reader.number(), type = reader.number();
    read.pieces.push_back({kind, id, type});
    read.specials += kind == TemplatePiece::Kind::special;
    firsts += kind == TemplatePiece::Kind::first;
    seconds += kind == TemplatePiece::Kind::second;
  }
  if (firsts != 1 || seconds != (pair ? 1 : 0)) Reader::refuse("a template without its texts");
  return read;
}

size_t Tokenizer::encode(std::string_view text, const std::string_view *pair, int64_t *ids, int64_t *types,
                         size_t room) const {
  const Template &around = pair ? double_ : single_;
  const size_t most = longest_ - around.specials;
  // Of a single text the tokens behind the last that is kept need not be known.
  const Tokens first = tokens_of(text, pair || !from_left_ ? SIZE_MAX : most);
  const Tokens second = pair ? tokens_of(*pair, SIZE_MAX) : Tokens{{}, 0};
  size_t counts[] = {first.ids.size(), second.ids.size()};
  if (counts[0] + counts[1] > most) {
    // The shorter keeps all of its own up to half of the room, the other what is left.
    const bool first_is_shorter = counts[0] <= counts[1];
    const size_t shorter = std::min({counts[0], counts[1], most / 2});
    if (!pair)
      counts[0] = most;
    else
      counts[0] = first_is_shorter ? shorter : most - shorter, counts[1] = most - counts[0];
  }
  const size_t total = around.specials + counts[0] + counts[1];
  if (total > room) throw Failure(2, "there is room for " + std::to_string(room) + " of " + std::to_string(total) + " tokens");
  for (const TemplatePiece &piece : around.pieces) {
    if (piece.kind == TemplatePiece::Kind::special) {
      *ids++ = piece.id;
      *types++ = piece.type;
      continue;
    }
    const bool is_first = piece.kind == TemplatePiece::Kind::first;
    const Part part = kept(is_first ? first : second, counts[is_first ? 0 : 1], from_left_);
    ids = std::copy(part.begin, part.begin + part.count, ids);
    types = std::fill_n(types, part.count, piece.type);
  }
  return total;
}

Tokens Tokenizer::tokens_of(std::string_view text, size_t enough) const {
  if (!unicode::is_valid(text)) throw Failure(2, "a text is no UTF-8");
  Tokens found{{}, enough};
  found.ids.reserve(std::min<size_t>(text.size(), 64));
  std::string room;
  if (added_.empty()) {
    add_normalized(text, found, room);
    return found;
  }
  for (const Piece &piece : added_.cut(text)) {
    if (found.full()) break;
    if (piece.id == none)
      add_normalized(piece.text, found, room);
    else
      found.ids.push_back(piece.id);
  }
  return found;
}

void Tokenizer::add_normalized(std::string_view text, Tokens &to, std::string &room) const {
  text = (*normalizer_)(text, room);
  if (added_normalized_.empty()) return model_->add(text, to);
  for (const Piece &piece : added_normalized_.cut(text)) {
    if (piece.id == none)
      model_->add(piece.text, to);
    else
      to.ids.push_back(piece.id);
  }
}
