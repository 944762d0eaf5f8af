// See bundle.h.

#include "bundle.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <fstream>
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

std::string joined(const std::vector<std::string>& names) {
  std::string found;
  for (const std::string& name : names) found += (found.empty() ? "" : ", ") + name;
  return found;
}

}  // namespace

Json read_manifest(const std::filesystem::path& bundle) {
  std::ifstream file(bundle / "manifest.json");
  if (!file) throw std::runtime_error((bundle / "manifest.json").string() + ": cannot be read");
  Json manifest = Json::parse(file);
  const int schema = manifest.at("schema");
  if (schema > kSchema) {
    throw std::runtime_error("manifest.json: schema " + std::to_string(schema) + "; this example reads up to " + std::to_string(kSchema));
  }
  return manifest;
}

std::vector<Json> find_graphs(const Json& manifest, const std::vector<std::string>& names) {
  if (manifest.at("schema").get<int>() < 4) {  // the manifest itself said what the graph is
    Json graph = manifest;
    graph["file"] = "model.onnx";
    return {graph};
  }
  std::vector<std::string> there;
  std::vector<Json> graphs;
  for (const Json& graph : manifest.at("graphs")) there.push_back(graph.at("name"));
  for (const std::string& name : names) {
    const auto place = std::find(there.begin(), there.end(), name);
    if (place == there.end() || there.size() != names.size()) {
      throw std::runtime_error("manifest.json: the model has the graphs " + joined(there) + "; this example runs models of " +
                               (names.size() == 1 ? "one graph, which is called " + names[0] : joined(names)));
    }
    graphs.push_back(manifest.at("graphs").at(static_cast<std::size_t>(place - there.begin())));
    const std::string file = graphs.back().at("file");
    if (file.find_first_of("/\\:") != std::string::npos) throw std::runtime_error("manifest.json: " + file + " lies outside the bundle");
  }
  return graphs;
}

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

std::vector<std::string> names_of(const Json& tensors, const std::string& role) {
  std::vector<std::string> names;
  for (const Json& tensor : tensors) {
    if (tensor.at("role") == role) names.push_back(tensor.at("name"));
  }
  return names;
}

Ort::Value as_tensor(std::vector<std::int64_t>& values) {
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::array<std::int64_t, 2> shape = {1, static_cast<std::int64_t>(values.size())};
  return Ort::Value::CreateTensor<std::int64_t>(memory, values.data(), values.size(), shape.data(), shape.size());
}

std::string to_line(const Json& answer) { return answer.dump(-1, ' ', false, Json::error_handler_t::replace); }
