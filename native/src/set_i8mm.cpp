// NEON with dot products of unsigned and signed bytes (from Armv8.6 on).
#define EDGELM_I8MM
#include <arm_neon.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace edgelm_i8mm {
#include "lanes_neon.h"
#include "functions.h"
#include "kernels.inl"

static bool runs() {
#if defined(__linux__)
  return getauxval(AT_HWCAP2) >> 13 & 1;  // i8mm
#else
  return false;  // not asked elsewhere
#endif
}
}  // namespace edgelm_i8mm

using namespace edgelm_i8mm;

extern const Kernels i8mm_kernels = {"neon-i8mm", runs, Layout{}, integer_product, float_product, norm, quantize, look_up,
                                     add,     activate_row, attend,          mean,          unit};
