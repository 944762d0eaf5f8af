#include "program.h"

#include <cmath>
#include <cstdlib>
#include <map>

#include "pack.h"
#include "text.h"

size_t padded(size_t width) { return (width + 15) / 16 * 16; }

namespace {

constexpr size_t widest = 1 << 20, most_parts = 1 << 16, most_numbers = 1 << 24;

class Reader {
 public:
  Reader(Text &text, Layout layout, size_t weights_bytes) : text_(text), packer_(layout) {
    program_.packed = Arena(weights_bytes);
  }

  Program read() {
    text_.expect("edgelm-native");
    if (text_.integer(1, 1 << 30) > 3) throw Failure(1, "a program of a newer edgelm; install a newer edgelm-native");
    text_.find_data();
    text_.expect("longest");
    program_.longest = static_cast<size_t>(text_.integer(1, 1 << 20));
    text_.expect("mask");
    program_.reads_mask = text_.integer(0, 1);
    buffers();
    text_.expect("steps");
    for (size_t left = parts(); left > 0; left--) program_.steps.push_back(step());
    text_.expect("outputs");
    for (size_t left = parts(); left > 0; left--) {
      const std::string name = text_.word();
      program_.outputs.push_back({name, buffer(Buffer::Kind::floats)});
    }
    if (program_.outputs.empty()) Text::refuse("it has no output");
    packer_.run();
    return std::move(program_);
  }

 private:
  size_t parts() { return static_cast<size_t>(text_.integer(0, most_parts)); }
  size_t width() { return static_cast<size_t>(text_.integer(1, widest)); }

  void buffers() {
    static const std::map<std::string, Buffer::Kind> kinds = {
        {"floats", Buffer::Kind::floats}, {"bytes", Buffer::Kind::bytes}, {"keys", Buffer::Kind::keys}};
    text_.expect("buffers");
    for (size_t left = parts(); left > 0; left--) {
      const auto kind = kinds.find(text_.word());
      if (kind == kinds.end()) Text::refuse("a buffer of an unknown kind");
      const auto per_token = static_cast<int>(text_.integer(0, 1 + most_halvings));
      program_.buffers.push_back({kind->second, per_token, width()});
    }
  }

  // A buffer of this kind, at least as wide.
  int buffer(Buffer::Kind kind, size_t least = 1) {
    const auto index = text_.integer(0, static_cast<int64_t>(program_.buffers.size()) - 1);
    const Buffer &found = program_.buffers[static_cast<size_t>(index)];
    if (found.kind != kind || found.width < least) Text::refuse("a buffer that does not fit its step");
    return static_cast<int>(index);
  }

  int maybe_buffer(Buffer::Kind kind, size_t least) {
    text_.expect("from");
    return text_.integer(0, 1) ? buffer(kind, least) : none;
  }

  int per_token(int index) const { return program_.buffers[static_cast<size_t>(index)].per_token; }

  void same_rows(int a, int b) const {
    if (a != none && b != none && per_token(a) != per_token(b)) Text::refuse("rows of tokens beside other rows");
  }

  // Floats from a place, padded by 0 to whole blocks and so many beyond; null where there are none.
  const float *floats(size_t count, size_t beyond = 0) {
    const uint8_t *bytes = text_.place(count * sizeof(float));
    if (!bytes) return nullptr;
    std::vector<float> kept(padded(count) + beyond, 0.0f);
    std::memcpy(kept.data(), bytes, count * sizeof(float));
    program_.numbers.push_back(std::move(kept));
    return program_.numbers.back().data();
  }

  // Floats of 16 bits from a place, as those of 32.
  const float *halves(size_t count) {
    const uint8_t *bytes = text_.place(count * sizeof(uint16_t));
    if (!bytes) return nullptr;
    std::vector<float> kept(count);
    for (size_t i = 0; i < count; i++) {
      uint16_t half;
      std::memcpy(&half, bytes + i * sizeof half, sizeof half);
      const int exponent = half >> 10 & 31, fraction = half & 1023;
      if (exponent == 31) Text::refuse("a scale that is not finite");
      const int whole = exponent ? fraction + 1024 : fraction;
      kept[i] = std::ldexp(static_cast<float>(half >> 15 ? -whole : whole), (exponent ? exponent : 1) - 25);
    }
    program_.numbers.push_back(std::move(kept));
    return program_.numbers.back().data();
  }

  const float *needed(const float *found) {
    if (!found) Text::refuse("numbers that are needed are missing");
    return found;
  }

  Activation activation() {
    static const std::map<std::string, Activation> kinds = {{"none", Activation::none},
                                                            {"gelu", Activation::gelu},
                                                            {"fast-gelu", Activation::fast_gelu},
                                                            {"relu", Activation::relu},
                                                            {"tanh", Activation::tanh}};
    const auto found = kinds.find(text_.word());
    if (found == kinds.end()) Text::refuse("an unknown activation");
    return found->second;
  }

  // BUFFER SCALE ZERO FACTORS
  void quantizer(Step &s, size_t width) {
    s.bytes = buffer(Buffer::Kind::bytes, width);
    s.byte_scale = text_.number();
    if (!(s.byte_scale > 1e-30f)) Text::refuse("a scale that is not above 0");
    s.byte_zero = static_cast<float>(text_.integer(0, 255));
    s.factors = floats(width);
  }

  void target(Step &s, size_t width) {
    const std::string kind = text_.word();
    if (kind == "rows") {
      s.output = buffer(Buffer::Kind::floats, width);
      return;
    }
    if (kind == "bytes") {
      s.target = Target::Kind::bytes;
      return quantizer(s, width);
    }
    const size_t parts = kind == "heads" ? 3 : 2;
    if ((kind != "heads" && kind != "memory") || width % parts) Text::refuse("an unknown target");
    s.target = Target::Kind::heads;
    s.head_width = width / parts;
    if (kind == "heads") s.queries = buffer(Buffer::Kind::floats, s.head_width);
    s.keys = buffer(Buffer::Kind::keys, s.head_width);
    s.values = buffer(Buffer::Kind::floats, s.head_width);
    if (!per_token(s.keys) || !per_token(s.values)) Text::refuse("keys of sequences");
    same_rows(s.keys, s.values);
    same_rows(s.keys, s.queries);
    if (s.queries == none) return;
    if (program_.buffers[static_cast<size_t>(s.queries)].width != program_.buffers[static_cast<size_t>(s.values)].width)
      Text::refuse("queries and values in buffers of unlike widths");
    if (!per_token(s.queries)) Text::refuse("keys of sequences");
  }

  Lookup lookup(size_t width) {
    static const std::map<std::string, Source> sources = {{"ids", Source::ids},
                                                          {"types", Source::types},
                                                          {"positions", Source::positions},
                                                          {"counted", Source::counted},
                                                          {"zero", Source::zero}};
    const auto source = sources.find(text_.word());
    if (source == sources.end()) Text::refuse("an unknown source of rows");
    Lookup found{source->second, text_.count(), 0, 0, {}};
    found.offset = text_.integer(0, 1 << 20);
    found.skipped = text_.integer(-1, 1 << 30);
    found.table.width = width;
    const std::string kind = text_.word();
    const std::map<std::string, size_t> row_bytes = {
        {"floats", width * sizeof(float)}, {"bytes", width}, {"nibbles", (width + 1) / 2}};
    const auto row = row_bytes.find(kind);
    if (found.rows < 1 || row == row_bytes.end()) Text::refuse("an empty or unknown table");
    const size_t bytes = found.rows * row->second;
    const uint8_t *place = text_.place(bytes);
    if (!place) Text::refuse("a table without rows");
    if (kind == "nibbles") {
      found.table.nibbles = place;
      found.table.scales = needed(halves(found.rows * ((width + nibble_block - 1) / nibble_block)));
    } else if (kind == "bytes") {
      found.table.bytes = reinterpret_cast<const int8_t *>(place);
      found.table.scales = needed(floats(found.rows));
    } else if (reinterpret_cast<uintptr_t>(place) % alignof(float) == 0) {
      found.table.floats = reinterpret_cast<const float *>(place);
    } else {
      std::vector<float> copy(found.rows * width);
      std::memcpy(copy.data(), place, bytes);
      program_.numbers.push_back(std::move(copy));
      found.table.floats = program_.numbers.back().data();
    }
    return found;
  }

  void embed(Step &s) {
    s.width = width();
    s.output = buffer(Buffer::Kind::floats, s.width);
    for (size_t left = parts(); left > 0; left--) s.lookups.push_back(lookup(s.width));
    for (const Lookup &lookup : s.lookups)
      if (per_token(s.output) != 1 && lookup.source != Source::zero) Text::refuse("embeddings of other rows");
    if (s.lookups.empty()) Text::refuse("embeddings without tables");
  }

  // INPUTS OUTPUTS BUFFER ... and what follows a product.
  void linear(Step &s) {
    IntegerMatrix &m = s.integers;
    m.inputs = width(), m.outputs = width();
    s.input = buffer(Buffer::Kind::bytes, m.inputs);
    const auto *weights = reinterpret_cast<const int8_t *>(text_.place(m.inputs * m.outputs));
    const bool columns = text_.integer(0, 1);
    const float *scales = needed(floats(columns ? m.outputs : 1));
    const float scale = text_.number();
    const auto zero = static_cast<int32_t>(text_.integer(0, 255));
    const float *bias = floats(m.outputs);
    if (!weights) Text::refuse("a product without weights");
    if (m.inputs > (1u << 16)) Text::refuse("a product whose sums could exceed 32 bits");
    packer_.add(program_, s, weights, scales, columns ? m.outputs : 1, bias, scale, zero);
    following(s, m.outputs);
  }

  void dense(Step &s) {
    FloatMatrix &m = s.floats;
    m.inputs = width(), m.outputs = width();
    s.input = buffer(Buffer::Kind::floats, m.inputs);
    const float *weights = needed(floats(m.inputs * m.outputs)), *bias = floats(m.outputs);
    pack_floats(program_, s, weights, bias);
    following(s, m.outputs);
  }

  void following(Step &s, size_t width) {
    s.width = width;
    s.activation = activation();
    s.other = maybe_buffer(Buffer::Kind::floats, width);
    target(s, width);
    same_rows(s.input, s.other);
    same_rows(s.input, s.output);
    same_rows(s.input, s.bytes);
    if (s.target == Target::Kind::heads && !per_token(s.input)) Text::refuse("keys of sequences");
    same_rows(s.input, s.keys);
  }

  void norm(Step &s) {
    s.width = width();
    s.input = buffer(Buffer::Kind::floats, s.width);
    s.gain = needed(floats(s.width));
    s.bias = floats(s.width);
    s.epsilon = text_.number();
    results(s);
  }

  // Rows as floats, as bytes or as both.
  void made(Step &s) {
    s.output = maybe_buffer(Buffer::Kind::floats, s.width);
    text_.expect("bytes");
    if (text_.integer(0, 1)) quantizer(s, s.width);
    if (s.output == none && s.bytes == none) Text::refuse("a step without results");
    same_rows(s.output, s.bytes);
  }

  // The same, of the rows that are read.
  void results(Step &s) {
    made(s);
    same_rows(s.input, s.output);
    same_rows(s.input, s.bytes);
  }

  // WIDTH INPUT ACTIVATION ...: the first half of a row, activated, times the second.
  void gate(Step &s) {
    s.width = width();
    s.input = buffer(Buffer::Kind::floats, 2 * s.width);
    s.activation = activation();
    results(s);
  }

  // HEADS SIZE REACH COSINES SINES QUERIES KEYS: pairs of numbers half a head apart, by an angle for each token.
  void rotate(Step &s) {
    s.heads = width();
    s.width = width();
    const size_t all = s.heads * s.width, half = s.width / 2;
    if (all > widest || s.width % 2) Text::refuse("heads that cannot be rotated");
    s.reach = static_cast<size_t>(text_.integer(1, 1 << 16));
    if (s.reach < program_.longest) Text::refuse("angles that do not reach all tokens");
    s.cosines = needed(floats(s.reach * half));
    s.sines = needed(floats(s.reach * half));
    s.turned_cosines = transposed(s.cosines, s.reach, half);
    s.turned_sines = transposed(s.sines, s.reach, half);
    s.queries = buffer(Buffer::Kind::floats, all);
    s.keys = buffer(Buffer::Kind::keys, all);
    if (per_token(s.queries) != 1 || per_token(s.keys) != 1) Text::refuse("angles of other rows");
  }

  const float *transposed(const float *numbers, size_t rows, size_t columns) {
    std::vector<float> kept(rows * columns);
    for (size_t row = 0; row < rows; row++)
      for (size_t column = 0; column < columns; column++) kept[column * rows + row] = numbers[row * columns + column];
    program_.numbers.push_back(std::move(kept));
    return program_.numbers.back().data();
  }

  // REACH COLUMNS FACTOR ASKED PLACES ASKING PLACES: a table of so many columns for what queries ask of positions, which is
  // taken times the factor, and the column for each distance; and the same for what positions ask of keys.
  void positions(Step &s) {
    s.reach = static_cast<size_t>(text_.integer(1, 1 << 16));
    if (s.reach < program_.longest) Text::refuse("positions that do not reach all tokens");
    const size_t distances = 2 * s.reach - 1, columns = width(), rows = s.heads * s.width;
    const float factor = text_.number();
    s.table_stride = ((padded(distances) / 16 + 1) | 1) * 16;  // an odd number of lines: they do not share places in caches
    if (columns > most_numbers / rows || s.table_stride > most_numbers / rows) Text::refuse("positions that are too many");
    for (const float **table : {&s.asked, &s.asking}) {
      const float *found = needed(floats(rows * columns)), *places = needed(floats(distances));
      std::vector<float> kept(rows * s.table_stride, 0.0f);
      for (size_t i = 0; i < distances; i++) {
        if (!(places[i] >= 0 && places[i] < static_cast<float>(columns))) Text::refuse("a distance without a column");
        for (size_t row = 0; row < rows; row++)
          kept[row * s.table_stride + i] = factor * found[row * columns + static_cast<size_t>(places[i])];
      }
      program_.numbers.pop_back(), program_.numbers.pop_back();  // both are in what is kept
      program_.numbers.push_back(std::move(kept));
      *table = program_.numbers.back().data();
    }
  }

  // HEADS SIZE [REACH BIASES, or positions] QUERIES KEYS VALUES SCALE MASKED OUTPUT ...
  void attention(Step &s, const std::string &kind) {
    s.heads = width();
    s.width = width();
    const size_t all = s.heads * s.width;
    if (all > widest) Text::refuse("heads that are too wide");
    if (kind == "disentangled-attention") positions(s);
    if (kind == "near-attention") {
      s.reach = static_cast<size_t>(text_.integer(1, 1 << 16));
      if (s.reach < program_.longest) Text::refuse("biases that do not reach all tokens");
      s.near = needed(floats(s.heads * (2 * s.reach - 1), 16));
    }
    s.queries = buffer(Buffer::Kind::floats, all);
    s.keys = buffer(Buffer::Kind::keys, all);
    s.values = buffer(Buffer::Kind::floats, all);
    s.scale = text_.number();
    s.masked = text_.integer(0, 1);
    s.output = buffer(Buffer::Kind::floats, all);
    if (s.masked && !program_.reads_mask) Text::refuse("a mask that it does not read");
    if (!per_token(s.keys) || !per_token(s.values)) Text::refuse("keys of sequences");
    if (s.reach && per_token(s.keys) != 1) Text::refuse("distances of tokens that were halved");
    same_rows(s.keys, s.values);
    if (per_token(s.queries)) same_rows(s.queries, s.keys);
    same_rows(s.queries, s.output);
    text_.expect("bytes");
    if (text_.integer(0, 1)) quantizer(s, all);
    same_rows(s.output, s.bytes);
  }

  // Rows of tokens to a row of their sequence.
  void pool(Step &s) {
    s.width = width();
    s.input = buffer(Buffer::Kind::floats, s.width);
    s.output = buffer(Buffer::Kind::floats, s.width);
    s.masked = text_.integer(0, 1);
    if (!per_token(s.input) || per_token(s.output)) Text::refuse("pooling of what is pooled");
    if (s.masked && !program_.reads_mask) Text::refuse("a mask that it does not read");
  }

  // WIDTH INPUT MASKED ...: the first row of a sequence, and of each two others their mean.
  void halve(Step &s) {
    s.width = width();
    s.input = buffer(Buffer::Kind::floats, s.width);
    s.masked = text_.integer(0, 1);
    made(s);
    if (s.output == none) Text::refuse("a step without results");
    if (!per_token(s.input) || per_token(s.output) != per_token(s.input) + 1) Text::refuse("halving of other rows");
    if (s.masked && !program_.reads_mask) Text::refuse("a mask that it does not read");
  }

  void rowwise(Step &s) {
    s.width = width();
    s.input = buffer(Buffer::Kind::floats, s.width);
    if (s.operation == Operation::quantize) {
      quantizer(s, s.width);
      return same_rows(s.input, s.bytes);
    }
    if (s.operation == Operation::add) s.other = buffer(Buffer::Kind::floats, s.width);
    if (s.operation == Operation::activate) s.activation = activation();
    if (s.operation == Operation::leave) s.threshold = text_.number();
    if (!(s.threshold >= -1)) Text::refuse("a threshold that is no number");
    s.output = buffer(Buffer::Kind::floats, s.width);
    same_rows(s.input, s.other);
    same_rows(s.input, s.output);
    if (s.operation == Operation::leave && per_token(s.output)) Text::refuse("answers for tokens");
  }

  Step step() {
    static const std::map<std::string, Operation> operations = {
        {"embed", Operation::embed},       {"linear", Operation::linear},       {"dense", Operation::dense},
        {"norm", Operation::norm},         {"quantize", Operation::quantize},   {"add", Operation::add},
        {"activate", Operation::activate}, {"gate", Operation::gate},           {"rotate", Operation::rotate},
        {"attention", Operation::attention}, {"first", Operation::first},       {"halve", Operation::halve},
        {"near-attention", Operation::attention}, {"disentangled-attention", Operation::attention},
        {"mean", Operation::mean},         {"unit", Operation::unit},           {"leave", Operation::leave}};
    const std::string name = text_.word();
    const auto found = operations.find(name);
    if (found == operations.end()) Text::refuse("an unknown step: " + name.substr(0, 40));
    Step s;
    s.operation = found->second;
    switch (s.operation) {
      case Operation::embed: embed(s); break;
      case Operation::linear: linear(s); break;
      case Operation::dense: dense(s); break;
      case Operation::norm: norm(s); break;
      case Operation::gate: gate(s); break;
      case Operation::rotate: rotate(s); break;
      case Operation::attention: attention(s, name); break;
      case Operation::halve: halve(s); break;
      case Operation::first:
      case Operation::mean: pool(s); break;
      default: rowwise(s);
    }
    return s;
  }

  Text &text_;
  Packer packer_;
  Program program_;
};

}  // namespace

Program read_program(const char *text, size_t text_bytes, const uint8_t *weights, size_t weights_bytes,
                     Layout layout) {
  std::vector<char> kept(text, text + text_bytes);  // tables may lie in it; moving it leaves them where they are
  Text words(kept.data(), text_bytes, weights, weights_bytes);
  Program program = Reader(words, layout, weights_bytes).read();
  program.text = std::move(kept);
  return program;
}
