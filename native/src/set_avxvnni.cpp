// AVX2 with FMA and the VNNI of 256 bits.
#define EDGELM_AVX_VNNI
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include <cpuid.h>

namespace edgelm_avxvnni {
#include "lanes_avx2.h"
#include "functions.h"
#include "kernels.inl"

// Leaf 7.1 of CPUID, which __builtin_cpu_supports of older compilers does not know.
static bool runs() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
         (a >> 4 & 1);
}
}  // namespace edgelm_avxvnni

using namespace edgelm_avxvnni;

extern const Kernels avxvnni_kernels = {"avx-vnni", runs, Layout{},         integer_product, float_product, norm, quantize, look_up,
                                     add,     activate_row, attend,          mean,          unit};
