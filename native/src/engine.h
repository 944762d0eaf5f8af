// A program with its memory and threads.
#pragma once

#include <memory>
#include <mutex>

#include "crew.h"
#include "program.h"

struct Inputs {
  const int64_t *ids, *mask, *types;  // mask and types may be null
  size_t batch, tokens;
};

class Engine {
 public:
  // Raises Failure: a damaged program, or an instruction set that does not run here; null: the best one.
  Engine(const void *program, size_t program_bytes, const void *weights, size_t weights_bytes, const char *set);

  const char *set() const { return kernels_->name; }
  const Program &program() const { return program_; }
  // Raises Failure.
  void run(const Inputs &inputs, int threads, float *const *outputs, const size_t *sizes);

 private:
  struct Range {
    size_t first, last;
  };

  // The tokens of a sequence that rows are of.
  struct Tokens {
    size_t count = 0, keys = 0;      // as they are, and padded to whole blocks
    std::vector<float> mask, added;  // 1 and 0 for each token; what is added to scores, `keys` a sequence
  };

  void check(const Inputs &inputs, const size_t *sizes) const;
  void make_room(const Inputs &inputs, int threads);
  void prepare(const Inputs &inputs);
  void work(const Inputs &inputs, int thread, int threads);
  void run_step(const Step &step, const Inputs &inputs, Range range, int thread);
  void embed(const Step &step, const Inputs &inputs, Range range);
  void attend(const Step &step, const Inputs &inputs, Range range, int thread);
  void rotate(const Step &step, const Inputs &inputs, Range range);
  void halve(const Step &step, Range range);
  void leave(const Step &step, Range range, uint8_t *answered, const uint8_t *before);
  void pool(const Step &step, Range range);
  bool crosses_rows(const Step &step) const;

  size_t stride(int buffer) const { return padded(program_.buffers[static_cast<size_t>(buffer)].width); }
  int per_token(int buffer) const { return program_.buffers[static_cast<size_t>(buffer)].per_token; }
  float *floats(int buffer) { return reinterpret_cast<float *>(places_[static_cast<size_t>(buffer)]); }
  uint8_t *bytes(int buffer) { return places_[static_cast<size_t>(buffer)]; }
  // Of the rows of a buffer.
  const Tokens &tokens(int buffer) const { return tokens_[static_cast<size_t>(per_token(buffer)) - 1]; }
  Quantizer quantizer(const Step &step, size_t row);

  const Kernels *kernels_;
  Program program_;
  std::mutex mutex_;
  Crew crew_;
  std::unique_ptr<uint8_t[]> memory_;
  size_t memory_bytes_ = 0;
  std::vector<uint8_t *> places_;  // of the buffers
  std::vector<float *> scratch_;   // of the threads
  std::vector<Tokens> tokens_;        // all of them, and what each halving leaves
  std::vector<uint8_t> answered_;     // at each step by which texts leave, whether a text has its answer
  std::vector<int32_t> counted_;      // for each token, by the first lookup that counts
};

// The instruction sets that run here, best first.
const std::vector<const Kernels *> &available_kernels();
