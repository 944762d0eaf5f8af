// AVX2 with FMA.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace edgelm_avx2 {
#include "lanes_avx2.h"
#include "functions.h"
#include "kernels.inl"

static bool runs() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
}  // namespace edgelm_avx2

using namespace edgelm_avx2;

extern const Kernels avx2_kernels = {"avx2", runs, Layout{true, false},         integer_product, float_product, norm, quantize, look_up,
                                     add,     activate_row, attend,          mean,          unit};
