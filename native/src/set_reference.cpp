// Plain C++, which every other set must equal.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace edgelm_reference {
#include "lanes_reference.h"
#include "functions.h"
#include "kernels.inl"

static bool runs() { return true; }
}  // namespace edgelm_reference

using namespace edgelm_reference;

extern const Kernels reference_kernels = {"reference", runs, Layout{},         integer_product, float_product, norm, quantize, look_up,
                                     add,     activate_row, attend,          mean,          unit};
