// What an instruction set offers, and the values that its functions take. Rows are padded to whole blocks of 16 lanes, so
// that all loops are over blocks; what lies in the padding is never read as a result.
#pragma once

#include <cstddef>
#include <cstdint>

enum class Activation { none, gelu, fast_gelu, relu, tanh };

// Where a float becomes a byte: round(x * factor / scale) + zero, within 0 to 255.
struct Quantizer {
  const float *factors = nullptr;  // one a channel; null: 1
  float scale = 1, inverse = 1;
  float zero = 0;
  uint8_t *to = nullptr;
  size_t stride = 0;
};

// Where the results of a product go. `rows`: as they are. `bytes`: quantized. `heads`: the queries, keys and values of
// attention, or the keys and values alone (`queries` null), `width` columns each; keys with the tokens of a sequence side
// by side.
struct Target {
  enum class Kind { rows, bytes, heads } kind = Kind::rows;
  float *to = nullptr;  // rows
  size_t stride = 0;
  Quantizer quantizer;  // bytes
  float *queries = nullptr, *keys = nullptr, *values = nullptr;  // heads
  size_t width = 0, head_stride = 0, tokens = 0, key_tokens = 0;
};

// What follows a product, in this order: scale and bias, activation, a row that is added.
struct Epilogue {
  const float *scales = nullptr;  // null for products of floats
  const float *bias = nullptr;    // null: none
  Activation activation = Activation::none;
  const float *residual = nullptr;
  size_t residual_stride = 0;
  Target target;
};

// How the groups of a panel lie for instructions that add up products in 16 bits: first those of which two neighbours fit
// into one sum, then those that fit alone, then those that do not.
struct Order {
  const uint16_t *groups = nullptr;
  size_t paired = 0, fitting = 0;  // the former included
};

struct IntegerMatrix {
  size_t inputs = 0, outputs = 0;   // as they are
  size_t groups = 0, panels = 0;    // of 4 inputs, of 16 outputs
  const int8_t *packed = nullptr;   // [panels][groups][16][4]
  const int32_t *starts = nullptr;  // of the sums: minus the zero point times the sum of the column
  const Order *orders = nullptr;    // one a panel; null: groups lie as the inputs do
};

struct FloatMatrix {
  size_t inputs = 0, outputs = 0, panels = 0;
  const float *packed = nullptr;  // [panels][inputs][16]
};

// Numbers of a row of nibbles that share a scale.
constexpr size_t nibble_block = 32;

struct Table {
  const float *floats = nullptr;     // or
  const int8_t *bytes = nullptr;     // or
  const uint8_t *nibbles = nullptr;  // two numbers a byte, the first in its low half; 8 stands for 0
  const float *scales = nullptr;     // one a row, of bytes; one a block, of nibbles
  size_t width = 0;
};

struct Attention {
  const float *queries = nullptr, *keys = nullptr, *values = nullptr;
  size_t query_stride = 0, stride = 0;  // of rows of queries, and of values and results
  size_t heads = 0, size = 0;           // numbers a head
  size_t tokens = 0, key_tokens = 0;
  float scale = 1;
  const float *mask = nullptr;  // what is added to the scores of a sequence's tokens; null: nothing
  // What is added by distance, [heads][2 * reach - 1], from key - query = 1 - reach on; null: nothing. It may be read 16
  // numbers beyond its end.
  const float *near = nullptr;
  size_t reach = 0, first_row = 0;  // the row of the sequence's first query
  // What queries ask of positions, and positions of keys: [heads][size][table_stride], by distance as above; null:
  // nothing. A line may be read 16 numbers beyond the last distance.
  const float *asked = nullptr, *asking = nullptr;
  size_t table_stride = 0;
  float *to = nullptr;
  size_t to_stride = 0;
};

// What an instruction set asks of matrices.
struct Layout {
  bool short_sums = false;    // it adds up products in 16 bits: orders are needed
  bool signed_bytes = false;  // it takes 128 from every byte: the starts of sums make up for it
};

struct Kernels {
  const char *name;
  bool (*runs)();
  Layout layout;
  // Rows [first, last) of a (stride) times a matrix.
  void (*integer_product)(const IntegerMatrix &, const uint8_t *a, size_t stride, size_t first, size_t last,
                          const Epilogue &);
  void (*float_product)(const FloatMatrix &, const float *a, size_t stride, size_t first, size_t last,
                        const Epilogue &);
  void (*norm)(const float *x, size_t width, const float *gain, const float *bias, float epsilon, float *to,
               const Quantizer *quantizer);
  void (*quantize)(const float *x, size_t width, const Quantizer &);
  void (*look_up)(const Table &, size_t row, float *to, bool add);
  void (*add)(const float *x, const float *y, size_t width, float *to);
  // `times`: a row that it is multiplied by afterwards; null: none. Floats and bytes are null where they are not asked
  // for.
  void (*activate)(Activation, const float *x, const float *times, size_t width, float *to, const Quantizer *);
  // Queries [first, last) of one sequence; `scratch` has 4 rows of key_tokens.
  void (*attend)(const Attention &, size_t first, size_t last, float *scratch);
  // The mean of the rows whose weight is not 0, by their weights; null: all are 1.
  void (*mean)(const float *x, size_t stride, size_t rows, const float *weights, size_t width, float *to);
  void (*unit)(const float *x, size_t width, float *to);  // divided by its length
};

extern const Kernels reference_kernels, avx2_kernels, avxvnni_kernels, avx512vnni_kernels, dotprod_kernels, i8mm_kernels;
