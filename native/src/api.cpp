#include "engine.h"
#include "guarded.h"

struct edgelm_native_model : Engine {
  using Engine::Engine;
};

extern "C" {

int edgelm_native_version(void) { return 1; }

const char *edgelm_native_instruction_sets(void) {
  static const std::string names = [] {
    std::string all;
    for (const Kernels *kernels : available_kernels()) all += (all.empty() ? "" : " ") + std::string(kernels->name);
    return all;
  }();
  return names.c_str();
}

int edgelm_native_load(const void *program, size_t program_bytes, const void *weights, size_t weights_bytes,
                       const char *set, edgelm_native_model **model, char *message, size_t message_bytes) {
  return guarded(message, message_bytes, [&] {
    if (!program || !weights || !model) throw Failure(EDGELM_NATIVE_BAD_INPUT, "an argument is missing");
    *model = new edgelm_native_model(program, program_bytes, weights, weights_bytes, set);
  });
}

void edgelm_native_free(edgelm_native_model *model) { delete model; }

const char *edgelm_native_set(const edgelm_native_model *model) { return model->set(); }

int edgelm_native_outputs(const edgelm_native_model *model) { return static_cast<int>(model->program().outputs.size()); }

const char *edgelm_native_output(const edgelm_native_model *model, int index, size_t *width, int *per_token) {
  const Program &program = model->program();
  if (index < 0 || static_cast<size_t>(index) >= program.outputs.size()) return nullptr;
  const Output &output = program.outputs[static_cast<size_t>(index)];
  const Buffer &buffer = program.buffers[static_cast<size_t>(output.buffer)];
  if (width) *width = buffer.width;
  if (per_token) *per_token = buffer.per_token;
  return output.name.c_str();
}

int edgelm_native_run(edgelm_native_model *model, const int64_t *ids, const int64_t *mask, const int64_t *types,
                      size_t batch, size_t tokens, int threads, float *const *outputs, const size_t *sizes,
                      char *message, size_t message_bytes) {
  return guarded(message, message_bytes, [&] {
    if (!model) throw Failure(EDGELM_NATIVE_BAD_INPUT, "an argument is missing");
    model->run({ids, mask, types, batch, tokens}, threads, outputs, sizes);
  });
}
}
