// See graphs.h.

#include "graphs.h"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <stdexcept>

namespace {

// The session settings that change what is computed, or how fast; the others of a manifest can be left out. ONNX Runtime has
// configuration keys that make it read other files: only those that edgelm writes are handed on.
Ort::SessionOptions make_options(const Json& manifest, const Json& graph) {
  const Json& settings = graph.at("session");
  Ort::SessionOptions options;
  // x86 without VNNI sums INT8 products in 16 bits; where the weights leave pairs that could overflow, it must take other kernels.
  const std::string precision = manifest.at("precision");
  const bool integers = precision == "int8" || precision == "int8-dynamic";
  const bool proven = graph.contains("pair_sum") && graph["pair_sum"].is_number() && graph["pair_sum"].get<int>() <= 128;
  if (integers && !proven) options.AddConfigEntry("session.x64quantprecision", "1");
  options.SetIntraOpNumThreads(settings.value("intra_op_num_threads", 0));  // 0: ONNX Runtime chooses
  if (settings.contains("disabled_optimizers")) {
    std::string names;
    for (const std::string name : settings["disabled_optimizers"]) names += (names.empty() ? "" : ";") + name;
    options.AddConfigEntry("optimization.disable_specified_optimizers", names.c_str());
  }
  if (settings.contains("entries")) {
    for (const auto& [key, value] : settings["entries"].items()) {
      if (key != "session.intra_op.allow_spinning" && key != "session.disable_prepacking") {
        throw std::runtime_error("manifest.json: unknown session setting " + key);
      }
      options.AddConfigEntry(key.c_str(), (value.is_string() ? value.get<std::string>() : value.dump()).c_str());
    }
  }
  return options;
}

}  // namespace

Ort::Env start_onnxruntime() {
  // It asks for its maker's host and keeps a device id under HOME unless this is set before it starts.
#ifdef _WIN32
  _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "edgelm");
  environment.DisableTelemetryEvents();
  return environment;
}

Ort::Session open_graph(Ort::Env& environment, const std::filesystem::path& bundle, const Json& manifest, const Json& graph, int threads,
                        bool growing) {
  Ort::SessionOptions options = make_options(manifest, graph);
  if (threads > 0) options.SetIntraOpNumThreads(threads);
  if (growing) options.DisableMemPattern();  // a plan of buffers would be made for every shape
  // ONNX Runtime finds the weights beside the graph by itself, and maps them into memory.
  return Ort::Session(environment, (bundle / graph.at("file").get<std::string>()).c_str(), options);
}

Ort::Value as_tensor(std::vector<std::int64_t>& values) {
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::array<std::int64_t, 2> shape = {1, static_cast<std::int64_t>(values.size())};
  return Ort::Value::CreateTensor<std::int64_t>(memory, values.data(), values.size(), shape.data(), shape.size());
}
