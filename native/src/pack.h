// Matrices in the order that products read them: see kernels.h.
#pragma once

#include "program.h"

// Packs matrices of integers: first all are named, then all are packed, by several threads where that pays.
class Packer {
 public:
  explicit Packer(Layout layout) : layout_(layout) {}

  // `weights` is [inputs][outputs]; the scales are of the columns, `count` of them: one each or one for all. Memory of
  // the program is taken for it, and its place noted in the step.
  void add(Program &program, Step &step, const int8_t *weights, const float *scales, size_t count, const float *bias,
           float input_scale, int32_t input_zero);
  void run();  // raises std::bad_alloc

 private:
  struct Matrix {
    IntegerMatrix shape;
    const int8_t *weights;
    int8_t *packed;
    int32_t *starts, zero;
    uint16_t *groups;  // and
    Order *orders;     // null: groups lie as the inputs do
  };

  // What a thread keeps from panel to panel.
  struct Scratch {
    std::vector<int8_t> panel;
    std::vector<uint16_t> groups;
  };

  static void pack(const Matrix &matrix, size_t panel, Scratch &scratch);

  Layout layout_;
  std::vector<Matrix> matrices_;
};

void pack_floats(Program &program, Step &step, const float *weights, const float *bias);
