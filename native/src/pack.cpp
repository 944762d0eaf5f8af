#include "pack.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "crew.h"
#include "order.h"

namespace {

const float *keep(Program &program, std::vector<float> numbers) {
  program.numbers.push_back(std::move(numbers));
  return program.numbers.back().data();
}

const float *keep_bias(Program &program, const float *bias, size_t width) {
  if (!bias) return nullptr;
  std::vector<float> kept(padded(width), 0.0f);
  for (size_t i = 0; i < width; i++) kept[i] = bias[i];
  return keep(program, std::move(kept));
}

// A panel with four inputs of an output side by side; adds the sums of its columns to `sums`.
void interleave(const int8_t *weights, const IntegerMatrix &m, size_t panel, int8_t *to, int32_t *sums) {
  const size_t first = panel * 16, count = m.outputs - first < 16 ? m.outputs - first : 16;
  size_t g = 0;
#if defined(__SSE2__)
  for (; count == 16 && 4 * g + 4 <= m.inputs; g++, to += 64) {
    const int8_t *row = weights + 4 * g * m.outputs + first;
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i *>(row));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(row + m.outputs));
    const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i *>(row + 2 * m.outputs));
    const __m128i d = _mm_loadu_si128(reinterpret_cast<const __m128i *>(row + 3 * m.outputs));
    const __m128i low_ab = _mm_unpacklo_epi8(a, b), low_cd = _mm_unpacklo_epi8(c, d);
    const __m128i high_ab = _mm_unpackhi_epi8(a, b), high_cd = _mm_unpackhi_epi8(c, d);
    const __m128i fours[4] = {_mm_unpacklo_epi16(low_ab, low_cd), _mm_unpackhi_epi16(low_ab, low_cd),
                              _mm_unpacklo_epi16(high_ab, high_cd), _mm_unpackhi_epi16(high_ab, high_cd)};
    for (size_t i = 0; i < 4; i++) {
      _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * i), fours[i]);
      const __m128i even = _mm_srai_epi16(_mm_slli_epi16(fours[i], 8), 8), odd = _mm_srai_epi16(fours[i], 8);
      __m128i *place = reinterpret_cast<__m128i *>(sums + 4 * i);
      const __m128i four_sums = _mm_madd_epi16(_mm_add_epi16(even, odd), _mm_set1_epi16(1));
      _mm_storeu_si128(place, _mm_add_epi32(_mm_loadu_si128(place), four_sums));
    }
  }
#endif
  for (; g < m.groups; g++, to += 64) {
    int8_t rows[4][16] = {};
    for (size_t i = 0; i < 4 && 4 * g + i < m.inputs; i++) std::memcpy(rows[i], weights + (4 * g + i) * m.outputs + first, count);
    for (size_t column = 0; column < 16; column++) {
      for (size_t i = 0; i < 4; i++) to[4 * column + i] = rows[i][column];
      sums[column] += rows[0][column] + rows[1][column] + rows[2][column] + rows[3][column];
    }
  }
}

Order order_of(const int8_t *panel, size_t count, std::vector<uint16_t> &groups) {
#if defined(__x86_64__)
  return find_order(panel, count, groups);
#else
  (void)panel, (void)count, (void)groups;  // no instruction set here asks for one
  return {};
#endif
}

constexpr size_t each = 1 << 20;  // bytes that are worth a thread
constexpr size_t most_threads = 4;

}  // namespace

void Packer::add(Program &program, Step &step, const int8_t *weights, const float *scales, size_t count,
                 const float *bias, float input_scale, int32_t input_zero) {
  if (layout_.signed_bytes) input_zero -= 128;
  IntegerMatrix &m = step.integers;
  m.groups = (m.inputs + 3) / 4;
  m.panels = padded(m.outputs) / 16;
  Matrix matrix{m, weights, program.packed.take(m.panels * m.groups * 64), nullptr, input_zero, nullptr, nullptr};
  // Moving a vector leaves its numbers where they are.
  program.starts.emplace_back(m.panels * 16, 0);
  m.starts = matrix.starts = program.starts.back().data();
  if (layout_.short_sums) {
    program.groups.emplace_back(m.panels * m.groups);
    matrix.groups = program.groups.back().data();
    program.orders.emplace_back(m.panels);
    m.orders = matrix.orders = program.orders.back().data();
  }
  m.packed = matrix.packed;
  std::vector<float> factors(m.panels * 16, 0.0f);
  for (size_t column = 0; column < m.outputs; column++)
    factors[column] = input_scale * scales[count == 1 ? 0 : column];
  step.scales = keep(program, std::move(factors));
  step.bias = keep_bias(program, bias, m.outputs);
  matrices_.push_back(matrix);
}

void Packer::run() {
  size_t bytes = 0, panels = 0;
  for (const Matrix &m : matrices_) bytes += m.shape.panels * m.shape.groups * 64, panels += m.shape.panels;
  const size_t threads = std::min({bytes / each + 1, most_threads, size_t{std::max(1u, std::thread::hardware_concurrency())}});
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  Crew crew;
  crew.run(static_cast<int>(threads), [&](int) {
    try {
      Scratch scratch;
      size_t before = 0, at = next++;
      for (const Matrix &m : matrices_) {
        for (; at < before + m.shape.panels; at = next++) pack(m, at - before, scratch);
        before += m.shape.panels;
      }
    } catch (const std::bad_alloc &) {
      failed = true;
    }
  });
  matrices_.clear();
  if (failed) throw std::bad_alloc();
}

void Packer::pack(const Matrix &matrix, size_t panel, Scratch &scratch) {
  const IntegerMatrix &m = matrix.shape;
  int8_t *packed = matrix.packed + panel * m.groups * 64;
  int32_t *starts = matrix.starts + panel * 16;
  if (!matrix.orders) {
    interleave(matrix.weights, m, panel, packed, starts);
  } else {
    if (scratch.panel.size() < m.groups * 64) scratch.panel.resize(m.groups * 64);
    const int8_t *lying = scratch.panel.data();
    interleave(matrix.weights, m, panel, scratch.panel.data(), starts);
    scratch.groups.clear();
    Order &order = matrix.orders[panel];
    order = order_of(lying, m.groups, scratch.groups);
    order.groups = std::copy(scratch.groups.begin(), scratch.groups.end(), matrix.groups + panel * m.groups) - m.groups;
    for (size_t g = 0; g < m.groups; g++) std::memcpy(packed + g * 64, lying + order.groups[g] * size_t{64}, 64);
  }
  for (size_t column = 0; column < 16; column++) starts[column] *= -matrix.zero;
}

void pack_floats(Program &program, Step &step, const float *weights, const float *bias) {
  FloatMatrix &m = step.floats;
  m.panels = padded(m.outputs) / 16;
  std::vector<float> packed(m.panels * m.inputs * 16, 0.0f);
  for (size_t k = 0; k < m.inputs; k++)
    for (size_t column = 0; column < m.outputs; column++)
      packed[(column / 16) * m.inputs * 16 + k * 16 + column % 16] = weights[k * m.outputs + column];
  m.packed = keep(program, std::move(packed));
  step.bias = keep_bias(program, bias, m.outputs);
}
