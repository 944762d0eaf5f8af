// Matrices in the order that products read them: see kernels.h.
#pragma once

#include "program.h"

// `weights` is [inputs][outputs]; the scales are of the columns, `count` of them: one each or one for all.
void pack_integers(Program &program, Step &step, const int8_t *weights, const float *scales, size_t count,
                   const float *bias, float input_scale, int32_t input_zero, Layout layout);
void pack_floats(Program &program, Step &step, const float *weights, const float *bias);
