// NEON with dot products of signed bytes (from Armv8.2 on).
#include <arm_neon.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace edgelm_dotprod {
#include "lanes_neon.h"
#include "functions.h"
#include "kernels.inl"

static bool runs() {
#if defined(__linux__)
  return getauxval(AT_HWCAP) >> 20 & 1;  // asimddp
#else
  return true;  // every ARM CPU of a Mac has them
#endif
}
}  // namespace edgelm_dotprod

using namespace edgelm_dotprod;

extern const Kernels dotprod_kernels = {"neon-dotprod", runs, Layout{false, true}, integer_product, float_product, norm, quantize, look_up,
                                     add,     activate_row, attend,          mean,          unit};
