// The order of a panel's groups for instructions that add up products in 16 bits.
#pragma once

#include <vector>

#include "kernels.h"

// Finds the order of `count` groups of 64 weights, which lie as the inputs do, and appends it to `groups`. Products of
// bytes up to 255 fit into 16 bits where neither the weights above 0 nor those below exceed 128 in sum.
Order find_order(const int8_t *weights, size_t count, std::vector<uint16_t> &groups);
