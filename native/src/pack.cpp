#include "pack.h"

#include <cstdlib>

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

}  // namespace

void pack_integers(Program &program, Step &step, const int8_t *weights, const float *scales, size_t count,
                   const float *bias, float input_scale, int32_t input_zero) {
  IntegerMatrix &m = step.integers;
  m.groups = (m.inputs + 3) / 4;
  m.panels = padded(m.outputs) / 16;
  constexpr size_t line = 64;
  std::vector<int8_t> packed(m.panels * m.groups * 64 + line, 0);
  const size_t shift = (line - reinterpret_cast<uintptr_t>(packed.data()) % line) % line;
  int8_t *to = packed.data() + shift;
  std::vector<int32_t> starts(m.panels * 16, 0);
  std::vector<float> factors(m.panels * 16, 0.0f);
  std::vector<int32_t> sums(m.panels * 16, 0);
  m.narrow = true;
  for (size_t panel = 0; panel < m.panels; panel++)
    for (size_t k = 0; k < m.inputs; k++) {
      const size_t first = panel * 16, count = m.outputs - first < 16 ? m.outputs - first : 16;
      const int8_t *row = weights + k * m.outputs + first;
      int8_t *place = to + (panel * m.groups + k / 4) * 64 + k % 4;
      for (size_t i = 0; i < count; i++) {
        place[4 * i] = row[i];
        sums[first + i] += row[i];
        // 255 * 128 < 2^15: what two neighbours may sum to, by their sizes
        if (k % 2 && std::abs(row[i]) + std::abs(place[4 * i - 1]) > 128) m.narrow = false;
      }
    }
  for (size_t column = 0; column < m.outputs; column++) {
    starts[column] = -input_zero * sums[column];
    factors[column] = input_scale * scales[count == 1 ? 0 : column];
  }
  program.packed.push_back(std::move(packed));  // moving a vector leaves its numbers where they are
  program.starts.push_back(std::move(starts));
  m.packed = to;
  m.starts = program.starts.back().data();
  step.scales = keep(program, std::move(factors));
  step.bias = keep_bias(program, bias, m.outputs);
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
