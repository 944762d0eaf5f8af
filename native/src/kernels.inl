// All functions of one instruction set, written once over `Lanes` and `Products`; a source file for each set includes it
// in a namespace of its own.

namespace {

// Sixteen floats from p, of which the first `count` are there; the others are 0.
inline Floats load_some(const float *p, size_t count) {
  if (count >= 16) return Lanes::load(p);
  float v[16] = {};
  std::memcpy(v, p, count * sizeof(float));
  return Lanes::load(v);
}

// The quotient by the scale is what a division gives, in a third of its time: a product by the inverse, corrected by what
// it is off (Markstein, IBM Journal of Research and Development 34(1), 1990).
inline Floats to_byte(Floats x, const Quantizer &q, size_t at, size_t count) {
  if (q.factors) x = Lanes::mul(x, load_some(q.factors + at, count));
  const Floats inverse = Lanes::set(q.inverse), near = Lanes::mul(x, inverse);
  const Floats quotient = Lanes::fma(Lanes::fma(near, Lanes::set(-q.scale), x), inverse, near);
  const Floats scaled = Lanes::add(Lanes::round(quotient), Lanes::set(q.zero));
  return clamp(scaled, 0.0f, 255.0f);
}

constexpr size_t attention_blocks = Products::panels > 1 ? 2 : 1;  // of a tile of scores or results

inline size_t left(size_t width, size_t at) { return width - at < 16 ? width - at : 16; }

// Queries, keys and values: to their buffers, keys with the tokens of a sequence side by side.
template <int rows> void put_heads(const Target &t, size_t row, size_t column, size_t count, const Floats (&x)[rows]) {
  if (!t.queries) column += t.width;  // the columns begin with the keys
  size_t sequence = row / t.tokens, token = row % t.tokens, part = column / t.width, at = column - part * t.width;
  const bool whole = count == 16 && at + 16 <= t.width;
  for (int r = 0; r < rows; r++) {
    float *line = (part == 0 ? t.queries : t.values) + (row + static_cast<size_t>(r)) * t.head_stride;
    if (whole && part != 1) {
      Lanes::store(line + at, x[r]);
    } else {
      float v[16];
      Lanes::store(v, x[r]);
      float *keys = t.keys + sequence * t.width * t.key_tokens + token;
      if (whole)
        for (size_t i = 0; i < 16; i++) keys[(at + i) * t.key_tokens] = v[i];
      else
        for (size_t i = 0; i < count; i++) {
          const size_t other = (column + i) / t.width, place = (column + i) % t.width;
          if (other == 1)
            keys[place * t.key_tokens] = v[i];
          else
            ((other == 0 ? t.queries : t.values) + (row + static_cast<size_t>(r)) * t.head_stride)[place] = v[i];
        }
    }
    if (++token == t.tokens) token = 0, sequence++;
  }
}

// What follows a product, for a block of columns of some rows: each step for all rows, since those do not wait for each
// other.
template <int rows>
__attribute__((noinline)) void finish(const Epilogue &e, size_t row, size_t column, size_t count, Floats (&x)[rows]) {
  if (e.bias) {
    const Floats bias = Lanes::load(e.bias + column);
    for (Floats &block : x) block = Lanes::add(block, bias);
  }
  activate_all(e.activation, x);
  if (e.residual)
    for (size_t r = 0; r < rows; r++)
      x[r] = Lanes::add(x[r], Lanes::load(e.residual + (row + r) * e.residual_stride + column));
  const Target &t = e.target;
  switch (t.kind) {
    case Target::Kind::rows:
      for (size_t r = 0; r < rows; r++) Lanes::store(t.to + (row + r) * t.stride + column, x[r]);
      break;
    case Target::Kind::bytes:
      for (size_t r = 0; r < rows; r++)
        Lanes::store_bytes(t.quantizer.to + (row + r) * t.quantizer.stride + column,
                           to_byte(x[r], t.quantizer, column, count));
      break;
    case Target::Kind::heads: put_heads<rows>(t, row, column, count, x); break;
  }
}

// The sums of a tile whose groups lie as the inputs do.
template <class P, int rows, int panels>
inline void sum_in_line(const IntegerMatrix &m, const uint8_t *bytes, size_t stride, size_t panel,
                        typename P::Sums (&sums)[rows][panels]) {
  const int8_t *weights = m.packed + panel * m.groups * 64;
  const size_t next = m.groups * 64;
  for (size_t g = 0; g < m.groups; g++, bytes += 4, weights += 64) {
    typename P::Weights w[panels];
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) w[p] = P::load(weights + p * next);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const auto four = P::repeat(bytes + r * stride);
#pragma GCC unroll 8
      for (int p = 0; p < panels; p++) sums[r][p] = P::dot(sums[r][p], four, w[p]);
    }
  }
}

// The sums of a tile of one panel whose groups lie in an order of their own. What lies `ahead` bytes on is brought to the
// cache meanwhile: the next panel, which may be another matrix's.
template <class P, int rows>
inline void sum_in_order(const IntegerMatrix &m, const uint8_t *bytes, size_t stride, size_t panel, size_t ahead,
                         typename P::Sums (&sums)[rows][1]) {
  const int8_t *weights = m.packed + panel * m.groups * 64;
  const Order &order = m.orders[panel];
  const uint8_t *line[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) line[r] = bytes + static_cast<size_t>(r) * stride;
  size_t g = 0;
  for (; g < order.paired; g += 2, weights += 128) {
    const size_t a = 4 * size_t{order.groups[g]}, b = 4 * size_t{order.groups[g + 1]};
    const auto v = P::load(weights), w = P::load(weights + 64);
    P::expect(weights + ahead);
    P::expect(weights + ahead + 64);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
      sums[r][0] = P::dot(sums[r][0], P::repeat(line[r] + a), v, P::repeat(line[r] + b), w);
  }
  for (; g < order.fitting; g++, weights += 64) {
    const size_t a = 4 * size_t{order.groups[g]};
    const auto w = P::load(weights);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) sums[r][0] = P::dot(sums[r][0], P::repeat(line[r] + a), w);
  }
  for (; g < m.groups; g++, weights += 64) {
    const size_t a = 4 * size_t{order.groups[g]};
    const auto w = P::load(weights);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) sums[r][0] = P::dot_parts(sums[r][0], P::repeat(line[r] + a), w);
  }
}

template <int rows, int panels>
void integer_tile(const IntegerMatrix &m, const uint8_t *a, size_t stride, size_t row, size_t panel, bool last,
                  const Epilogue &e) {
  typename Products::Sums sums[rows][panels];
#pragma GCC unroll 8
  for (int p = 0; p < panels; p++) {
    const auto start = Products::start(m.starts + (panel + p) * 16);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) sums[r][p] = start;
  }
  if constexpr (Products::short_sums)
    sum_in_order<Products>(m, a + row * stride, stride, panel, last ? m.groups * 64 : 0, sums);
  else
    sum_in_line<Products>(m, a + row * stride, stride, panel, sums);
  // Sums stay in registers only if no index of them is a variable: all loops over them are unrolled, this one too.
  int32_t block[rows][panels][16];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) Products::finish(block[r][p], sums[r][p]);
  for (int p = 0; p < panels; p++) {
    const size_t column = (panel + p) * 16;
    const Floats scales = Lanes::load(e.scales + column);
    Floats x[rows];
    for (int r = 0; r < rows; r++) x[r] = Lanes::mul(Lanes::to_floats(Lanes::load_ints(block[r][p])), scales);
    finish<rows>(e, row, column, left(m.outputs, column), x);
  }
}

template <int rows, int panels>
void float_tile(const FloatMatrix &m, const float *a, size_t stride, size_t row, size_t panel, const Epilogue &e) {
  Floats sums[rows][panels];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) sums[r][p] = Lanes::set(0.0f);
  const float *numbers = a + row * stride, *weights = m.packed + panel * m.inputs * 16;
  const size_t next = m.inputs * 16;
  for (size_t k = 0; k < m.inputs; k++, weights += 16) {
    Floats w[panels];
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) w[p] = Lanes::load(weights + p * next);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const Floats number = Lanes::set(numbers[r * stride + k]);
#pragma GCC unroll 8
      for (int p = 0; p < panels; p++) sums[r][p] = Lanes::fma(number, w[p], sums[r][p]);
    }
  }
  float block[rows][panels][16];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int p = 0; p < panels; p++) Lanes::store(block[r][p], sums[r][p]);
  for (int p = 0; p < panels; p++) {
    const size_t column = (panel + p) * 16;
    Floats x[rows];
    for (int r = 0; r < rows; r++) x[r] = Lanes::load(block[r][p]);
    finish<rows>(e, row, column, left(m.outputs, column), x);
  }
}

// Calls tile<rows, panels> for a number of rows that is known only when it runs.
template <template <int, int> class Tile, int panels, int rows = Products::rows, class... Arguments>
void tile_rows(size_t count, Arguments &&...arguments) {
  if (count == rows) return Tile<rows, panels>::call(arguments...);
  if constexpr (rows > 1) tile_rows<Tile, panels, rows - 1>(count, arguments...);
}

// A matrix by tiles: panels of columns outside, so that their weights stay in the nearest cache for all rows, which are
// shared out evenly among as few tiles as there can be.
template <template <int, int> class Tile, int panels, class Matrix, class Value>
void columns(const Matrix &m, const Value *a, size_t stride, size_t first, size_t last, size_t panel, const Epilogue &e) {
  const size_t rows = last - first, blocks = (rows + Products::rows - 1) / Products::rows;
  for (size_t i = 0; i < blocks; i++) {
    const size_t from = rows * i / blocks, to = rows * (i + 1) / blocks;
    tile_rows<Tile, panels>(to - from, m, a, stride, first + from, panel, i + 1 == blocks, e);
  }
}

template <template <int, int> class Tile, class Matrix, class Value>
void product(const Matrix &m, const Value *a, size_t stride, size_t first, size_t last, const Epilogue &e) {
  size_t panel = 0;
  for (; panel + Products::panels <= m.panels; panel += Products::panels)
    columns<Tile, Products::panels>(m, a, stride, first, last, panel, e);
  for (; panel < m.panels; panel++) columns<Tile, 1>(m, a, stride, first, last, panel, e);
}

template <int rows, int panels> struct IntegerTile {
  static void call(const IntegerMatrix &m, const uint8_t *a, size_t stride, size_t row, size_t panel, bool last,
                   const Epilogue &e) {
    integer_tile<rows, panels>(m, a, stride, row, panel, last, e);
  }
};
template <int rows, int panels> struct FloatTile {
  static void call(const FloatMatrix &m, const float *a, size_t stride, size_t row, size_t panel, bool,
                   const Epilogue &e) {
    float_tile<rows, panels>(m, a, stride, row, panel, e);
  }
};

void integer_product(const IntegerMatrix &m, const uint8_t *a, size_t stride, size_t first, size_t last,
                     const Epilogue &e) {
  product<IntegerTile>(m, a, stride, first, last, e);
}

void float_product(const FloatMatrix &m, const float *a, size_t stride, size_t first, size_t last, const Epilogue &e) {
  product<FloatTile>(m, a, stride, first, last, e);
}

void quantize(const float *x, size_t width, const Quantizer &q) {
  for (size_t at = 0; at < width; at += 16)
    Lanes::store_bytes(q.to + at, to_byte(Lanes::load(x + at), q, at, left(width, at)));
}

void norm(const float *x, size_t width, const float *gain, const float *bias, float epsilon, float *to,
          const Quantizer *quantizer) {
  Floats sum = Lanes::set(0.0f), squares = sum;
  for (size_t at = 0; at < width; at += 16) sum = Lanes::add(sum, load_some(x + at, left(width, at)));
  const Floats mean = Lanes::set(sum_lanes(sum) / static_cast<float>(width));
  for (size_t at = 0; at < width; at += 16) {
    Floats distance = Lanes::sub(Lanes::load(x + at), mean);
    if (left(width, at) < 16) {
      float v[16];
      Lanes::store(v, distance);
      distance = load_some(v, left(width, at));
    }
    squares = Lanes::fma(distance, distance, squares);
  }
  const Floats factor = Lanes::set(1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(width) + epsilon));
  for (size_t at = 0; at < width; at += 16) {
    const size_t count = left(width, at);
    const Floats distance = Lanes::mul(Lanes::sub(Lanes::load(x + at), mean), factor);
    const Floats y = Lanes::fma(distance, load_some(gain + at, count),
                                bias ? load_some(bias + at, count) : Lanes::set(0.0f));
    if (to) Lanes::store(to + at, y);
    if (quantizer) Lanes::store_bytes(quantizer->to + at, to_byte(y, *quantizer, at, count));
  }
}

// Sixteen numbers of four bits, or `count` and zeros, as bytes.
void spread_nibbles(const uint8_t *from, size_t count, int8_t *to) {
  uint8_t packed[8] = {};
  std::memcpy(packed, from, (count + 1) / 2);
  for (size_t i = 0; i < 8; i++) {
    to[2 * i] = static_cast<int8_t>((packed[i] & 15) - 8);
    to[2 * i + 1] = static_cast<int8_t>((packed[i] >> 4) - 8);
  }
}

void look_up(const Table &table, size_t row, float *to, bool sum) {
  const size_t begin = row * table.width, bytes = (table.width + 1) / 2;
  const size_t blocks = (table.width + nibble_block - 1) / nibble_block;
  for (size_t at = 0; at < table.width; at += 16) {
    const size_t count = left(table.width, at);
    Floats x;
    if (table.floats) {
      x = load_some(table.floats + begin + at, count);
    } else if (table.nibbles) {
      int8_t v[16];
      spread_nibbles(table.nibbles + row * bytes + at / 2, count, v);
      x = Lanes::mul(Lanes::from_bytes(v), Lanes::set(table.scales[row * blocks + at / nibble_block]));
    } else {
      int8_t v[16] = {};
      std::memcpy(v, table.bytes + begin + at, count);
      x = Lanes::mul(Lanes::from_bytes(v), Lanes::set(table.scales[row]));
    }
    Lanes::store(to + at, sum ? Lanes::add(Lanes::load(to + at), x) : x);
  }
}

void add(const float *x, const float *y, size_t width, float *to) {
  for (size_t at = 0; at < width; at += 16) Lanes::store(to + at, Lanes::add(Lanes::load(x + at), Lanes::load(y + at)));
}

void activate_row(Activation kind, const float *x, const float *times, size_t width, float *to,
                  const Quantizer *quantizer) {
  for (size_t at = 0; at < width; at += 16) {
    Floats y = activate(kind, Lanes::load(x + at));
    if (times) y = Lanes::mul(y, load_some(times + at, left(width, at)));  // behind it lies another row
    if (to) Lanes::store(to + at, y);
    if (quantizer) Lanes::store_bytes(quantizer->to + at, to_byte(y, *quantizer, at, left(width, at)));
  }
}

// Scores of four rows with `blocks` times sixteen keys: so many sums at once that none waits for another.
template <int blocks, bool biased>
inline void score_block(const Attention &a, const float *const (&query)[4], const float *const (&near)[4],
                        const float *keys, size_t at, float *scores) {
  Floats sums[4][blocks];
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) sums[r][b] = Lanes::set(0.0f);
  for (size_t d = 0; d < a.size; d++) {
    Floats key[blocks];
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) key[b] = Lanes::load(keys + d * a.key_tokens + at + 16 * static_cast<size_t>(b));
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      const Floats number = Lanes::set(query[r][d]);
#pragma GCC unroll 4
      for (int b = 0; b < blocks; b++) sums[r][b] = Lanes::fma(number, key[b], sums[r][b]);
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < blocks; b++) {
    const size_t place = at + 16 * static_cast<size_t>(b);
    const Floats added = a.mask ? Lanes::load(a.mask + place) : Lanes::set(0.0f);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      Floats scaled = Lanes::mul(sums[r][b], Lanes::set(a.scale));
      if (biased) scaled = Lanes::add(scaled, Lanes::load(near[r] + place));
      Lanes::store(scores + static_cast<size_t>(r) * a.key_tokens + place, Lanes::add(scaled, added));
    }
  }
}

// Four rows of scores at once: `rows` of them are results, the others repeat the last.
template <bool biased> inline void score(const Attention &a, size_t head, size_t first, int rows, float *scores) {
  const float *query[4], *near[4] = {};
  for (int r = 0; r < 4; r++) {
    const size_t row = first + static_cast<size_t>(r < rows ? r : rows - 1);
    query[r] = a.queries + row * a.query_stride + head * a.size;
    if (biased) near[r] = a.near + head * (2 * a.reach - 1) + a.reach - 1 - (row - a.first_row);
  }
  const float *keys = a.keys + head * a.size * a.key_tokens;
  size_t at = 0;
  for (; at + 16 * attention_blocks <= a.key_tokens; at += 16 * attention_blocks)
    score_block<attention_blocks, biased>(a, query, near, keys, at, scores);
  for (; at < a.key_tokens; at += 16) score_block<1, biased>(a, query, near, keys, at, scores);
}

#include "disentangled.inl"

// Scores to shares that are not yet divided by their sum, which is returned.
inline float soften(const Attention &a, float *scores) {
  for (size_t i = a.tokens; i < a.key_tokens; i++) scores[i] = -INFINITY;
  Floats largest = Lanes::load(scores), sum = Lanes::set(0.0f);
  for (size_t at = 16; at < a.key_tokens; at += 16) largest = Lanes::max(largest, Lanes::load(scores + at));
  const Floats top = Lanes::set(largest_lane(largest));
  for (size_t at = 0; at < a.key_tokens; at += 16) {
    const Floats share = exponential(Lanes::sub(Lanes::load(scores + at), top));
    Lanes::store(scores + at, share);
    sum = Lanes::add(sum, share);
  }
  return sum_lanes(sum);
}

// Four rows of results: `blocks` times sixteen numbers of a head, or the last `count` of them.
template <int blocks>
inline void weigh_block(const Attention &a, const float *const (&share)[4], const float *values, size_t count, int rows,
                        const float *sums, float *to) {
  Floats results[4][blocks];
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) results[r][b] = Lanes::set(0.0f);
  for (size_t token = 0; token < a.tokens; token++, values += a.stride) {
    Floats value[blocks];
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) value[b] = Lanes::load(values + 16 * b);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      const Floats number = Lanes::set(share[r][token]);
#pragma GCC unroll 4
      for (int b = 0; b < blocks; b++) results[r][b] = Lanes::fma(number, value[b], results[r][b]);
    }
  }
  float block[4][16 * blocks];
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++)
      Lanes::store(block[r] + 16 * b, Lanes::mul(results[r][b], Lanes::set(1.0f / sums[r])));
  for (int r = 0; r < rows; r++) std::memcpy(to + static_cast<size_t>(r) * a.to_stride, block[r], count * sizeof(float));
}

inline void weigh(const Attention &a, size_t head, size_t first, int rows, const float *scores, const float *sums) {
  const float *share[4];
  for (int r = 0; r < 4; r++) share[r] = scores + static_cast<size_t>(r < rows ? r : rows - 1) * a.key_tokens;
  const float *values = a.values + head * a.size;
  float *to = a.to + first * a.to_stride + head * a.size;
  size_t at = 0;
  for (; at + 16 * attention_blocks <= a.size; at += 16 * attention_blocks)
    weigh_block<attention_blocks>(a, share, values + at, 16 * attention_blocks, rows, sums, to + at);
  for (; at < a.size; at += 16) weigh_block<1>(a, share, values + at, left(a.size, at), rows, sums, to + at);
}

void attend(const Attention &a, size_t first, size_t last, float *scratch) {
  for (size_t head = 0; head < a.heads; head++)
    for (size_t row = first; row < last; row += 4) {
      const int rows = static_cast<int>(last - row < 4 ? last - row : 4);
      float sums[4] = {1, 1, 1, 1};
      if (a.asked)
        score_disentangled(a, head, row, rows, scratch);
      else
        a.near ? score<true>(a, head, row, rows, scratch) : score<false>(a, head, row, rows, scratch);
      for (int r = 0; r < rows; r++) sums[r] = soften(a, scratch + static_cast<size_t>(r) * a.key_tokens);
      weigh(a, head, row, rows, scratch, sums);
    }
}

void mean(const float *x, size_t stride, size_t rows, const float *weights, size_t width, float *to) {
  float total = 0;
  for (size_t row = 0; row < rows; row++) total += weights ? weights[row] : 1.0f;
  for (size_t at = 0; at < width; at += 16) {
    Floats sum = Lanes::set(0.0f);
    for (size_t row = 0; row < rows; row++)
      if (!weights || weights[row] != 0) sum = Lanes::add(sum, Lanes::load(x + row * stride + at));
    Lanes::store(to + at, Lanes::div(sum, Lanes::set(total)));
  }
}

void unit(const float *x, size_t width, float *to) {
  Floats squares = Lanes::set(0.0f);
  for (size_t at = 0; at < width; at += 16) {
    const Floats v = load_some(x + at, left(width, at));
    squares = Lanes::fma(v, v, squares);
  }
  const float length = std::sqrt(sum_lanes(squares));
  const Floats divisor = Lanes::set(length > 0 ? length : 1.0f);
  for (size_t at = 0; at < width; at += 16) Lanes::store(to + at, Lanes::div(Lanes::load(x + at), divisor));
}

}  // namespace
