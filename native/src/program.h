// A program: what a bundle's INT8 graph computes, as a list of fused steps over buffers. Its text is written by
// edgelm's exporter (edgelm/export/native); this reads it, and refuses what it could not run safely.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "arena.h"
#include "kernels.h"

struct Failure : std::runtime_error {
  Failure(int code, const std::string &what) : std::runtime_error(what), code(code) {}
  int code;
};

// Rows of numbers: one row for each sequence, or for each token, or for each of the tokens that were left after halving
// them so often and once less: `per_token` is 0, 1, 2 and so on. `keys` are stored with the tokens of a sequence side by
// side.
struct Buffer {
  enum class Kind { floats, bytes, keys } kind;
  int per_token;
  size_t width;
};

// Which row of a table a token takes. `counted`: its place among the tokens that are not `skipped`, from 1, after
// `offset`; `offset` for those that are. `zero`: always the first.
enum class Source { ids, types, positions, counted, zero };

struct Lookup {
  Source source;
  size_t rows;
  int64_t offset, skipped;
  Table table;
};

enum class Operation { embed, linear, dense, norm, quantize, add, activate, gate, rotate, attention, halve, leave, first, mean, unit };

constexpr int none = -1, most_halvings = 16;

struct Step {
  Operation operation;
  int input = none, other = none, output = none, bytes = none;  // buffers
  int queries = none, keys = none, values = none;
  size_t width = 0, heads = 0, head_width = 0, reach = 0;
  bool masked = false;
  float epsilon = 0, scale = 1, threshold = 0;
  Activation activation = Activation::none;
  IntegerMatrix integers;
  FloatMatrix floats;
  Target::Kind target = Target::Kind::rows;
  const float *scales = nullptr, *bias = nullptr, *gain = nullptr, *factors = nullptr, *near = nullptr;
  const float *asked = nullptr, *asking = nullptr;  // [heads][width][table_stride]
  size_t table_stride = 0;
  const float *cosines = nullptr, *sines = nullptr;  // [reach][half a head]
  const float *turned_cosines = nullptr, *turned_sines = nullptr;  // [half a head][reach]
  float byte_scale = 1, byte_zero = 0;
  std::vector<Lookup> lookups;
};

struct Output {
  std::string name;
  int buffer;
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<Output> outputs;
  bool reads_mask = false;
  size_t longest = 0;  // tokens of a sequence
  // What steps point to; none of these is resized.
  std::vector<char> text;
  std::vector<std::vector<float>> numbers;
  std::vector<std::vector<int32_t>> starts;
  Arena packed;
  std::vector<std::vector<Order>> orders;
  std::vector<std::vector<uint16_t>> groups;
};

size_t padded(size_t width);  // to whole blocks of 16

// Raises Failure. `layout`: what the instruction set that is to run it asks for.
Program read_program(const char *text, size_t text_bytes, const uint8_t *weights, size_t weights_bytes, Layout layout);
