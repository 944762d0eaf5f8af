// AVX-512 with VNNI.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace edgelm_avx512vnni {
#include "lanes_avx512.h"
#include "functions.h"
#include "kernels.inl"

static bool runs() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}
}  // namespace edgelm_avx512vnni

using namespace edgelm_avx512vnni;

extern const Kernels avx512vnni_kernels = {"avx512-vnni", runs, Layout{},         integer_product, float_product, norm, quantize, look_up,
                                     add,     activate_row, attend,          mean,          unit};
