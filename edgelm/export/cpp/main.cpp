// Answers a text with a bundle, where there is no Python. manifest.json says what the model is, ONNX Runtime runs the graph, and
// the Hugging Face tokenizers library (in tokenizer/) makes its tokens. Prints the JSON line that `python run.py` prints.
//
// Needs CMake, a C++17 compiler, Rust's cargo, and ONNX Runtime (the release archive for the device, unpacked). In the bundle:
//
//     cmake -S cpp -B ../answer -DONNXRUNTIME_ROOT=/path/to/onnxruntime     build outside: a bundle stays as it was made
//     cmake --build ../answer
//     ../answer/answer . "This is a great movie!"
//     ../answer/answer . "A man eats." "Someone eats."                      where the model reads two texts at once
//
// A bundle that is one file (.edgelm) is a zip archive: unpack it first. Hashes are not checked here: `python run.py --verify` does.
// Models for text classification and sentence embedding are answered; those for other tasks are for the Python runtime.
// The graph runs on the CPU; engines that a bundle may hold for a GPU are for the Python runtime.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using Json = nlohmann::ordered_json;  // keeps labels in the order of the model

constexpr int kSchema = 4;  // of manifest.json: the newest that this example reads

// What tokenizer/tokenizer.rs offers; it says on stderr why something failed.
struct Tokenizer;
extern "C" {
Tokenizer* tokenizer_open(const char* path, std::size_t max_length, bool cut_left, bool split_special);
std::ptrdiff_t tokenizer_encode(const Tokenizer* tokenizer, const char* first, const char* second, std::size_t room, std::int64_t* ids,
                                std::int64_t* mask, std::int64_t* type_ids);
void tokenizer_close(Tokenizer* tokenizer);
}

struct CloseTokenizer {
  void operator()(Tokenizer* tokenizer) const { tokenizer_close(tokenizer); }
};

Json read_manifest(const std::filesystem::path& bundle) {
  std::ifstream file(bundle / "manifest.json");
  if (!file) throw std::runtime_error((bundle / "manifest.json").string() + ": cannot be read");
  Json manifest = Json::parse(file);
  const int schema = manifest.at("schema");
  if (schema > kSchema) {
    throw std::runtime_error("manifest.json: schema " + std::to_string(schema) + "; this example reads up to " + std::to_string(kSchema));
  }
  const std::string kind = manifest.at("task").at("kind");
  if (kind != "text-classification" && kind != "sentence-embedding") {
    throw std::runtime_error("manifest.json: the model is for " + kind +
                             "; this example answers text classification and sentence embedding alone. `python run.py` answers it");
  }
  return manifest;
}

// The one graph of the model: up to schema 3 the manifest itself said what it is.
Json find_graph(const Json& manifest) {
  Json graph = manifest;
  if (manifest.at("schema").get<int>() < 4) {
    graph["file"] = "model.onnx";
    return graph;
  }
  const Json& graphs = manifest.at("graphs");
  std::string names;
  for (const Json& each : graphs) names += (names.empty() ? "" : ", ") + each.at("name").get<std::string>();
  if (names != "model") {
    throw std::runtime_error("manifest.json: the model has the graphs " + names +
                             "; this example runs models of one graph, which is called model");
  }
  graph = graphs.at(0);
  const std::string file = graph.at("file");
  if (file.find_first_of("/\\:") != std::string::npos) throw std::runtime_error("manifest.json: " + file + " lies outside the bundle");
  return graph;
}

// The session settings that change what is computed, or how fast; the others of a manifest can be left out. ONNX Runtime has
// configuration keys that make it read other files: only those that edgelm writes are handed on.
Ort::SessionOptions make_options(const Json& graph) {
  const Json& settings = graph.at("session");
  Ort::SessionOptions options;
  // x86 without VNNI sums INT8 products in 16 bits; where the weights leave pairs that could overflow, it must take other kernels.
  const bool proven = graph.contains("pair_sum") && graph["pair_sum"].is_number() && graph["pair_sum"].get<int>() <= 128;
  if (!proven) options.AddConfigEntry("session.x64quantprecision", "1");
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

// The graph's inputs by name, each of one row; cut at the model's longest, and not padded, since the text is alone.
std::map<std::string, std::vector<std::int64_t>> tokenize(const std::filesystem::path& bundle, const Json& manifest, const char* first,
                                                          const char* second) {
  const Json& settings = manifest.at("tokenization");
  const std::size_t longest = settings.at("max_length");
  const bool cut_left = settings.value("truncation_side", "right") == "left";
  const std::string path = (bundle / "tokenizer.json").string();
  const std::unique_ptr<Tokenizer, CloseTokenizer> tokenizer(
      tokenizer_open(path.c_str(), longest, cut_left, settings.value("split_special", false)));
  if (!tokenizer) throw std::runtime_error("tokenizer.json cannot be used");
  std::vector<std::int64_t> ids(longest), mask(longest), type_ids(longest);
  const std::ptrdiff_t count = tokenizer_encode(tokenizer.get(), first, second, longest, ids.data(), mask.data(), type_ids.data());
  if (count < 0) throw std::runtime_error("the text cannot be made tokens");
  if (count == 0) throw std::runtime_error("the text becomes no token, and the model cannot read nothing");
  for (auto* values : {&ids, &mask, &type_ids}) values->resize(static_cast<std::size_t>(count));
  return {{"input_ids", ids}, {"attention_mask", mask}, {"token_type_ids", type_ids}};
}

// Runs the graph: the logits, or the sentence vector, of one row.
std::vector<double> infer(Ort::Session& session, const Json& graph, std::map<std::string, std::vector<std::int64_t>> fields) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<std::string> names;  // a graph asks for some of the fields: one made by `export --single` for the tokens alone
  for (const Json& input : graph.at("inputs")) names.push_back(input.at("name"));
  std::vector<const char*> input_names;
  std::vector<Ort::Value> inputs;
  for (const std::string& name : names) {
    std::vector<std::int64_t>& values = fields.at(name);
    const std::array<std::int64_t, 2> shape = {1, static_cast<std::int64_t>(values.size())};  // (texts, tokens)
    inputs.push_back(Ort::Value::CreateTensor<std::int64_t>(memory, values.data(), values.size(), shape.data(), shape.size()));
    input_names.push_back(name.c_str());
  }
  const std::string output_name = graph.at("outputs").at(0).at("name");
  const char* output_names[] = {output_name.c_str()};
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, input_names.data(), inputs.data(), inputs.size(), output_names, 1);
  const float* values = outputs[0].GetTensorData<float>();
  return std::vector<double>(values, values + outputs[0].GetTensorTypeAndShapeInfo().GetElementCount());
}

std::vector<double> softmax(std::vector<double> values) {
  const double largest = *std::max_element(values.begin(), values.end());  // taken off, so that no exponential overflows
  double sum = 0;
  for (double& value : values) sum += value = std::exp(value - largest);
  for (double& value : values) value /= sum;
  return values;
}

double sigmoid(double value) { return 1 / (1 + std::exp(-value)); }

// What the outputs mean, as `edgelm run --json` says it.
Json read_answer(const Json& task, const std::vector<double>& outputs) {
  for (const double value : outputs) {
    if (!std::isfinite(value)) throw std::runtime_error("the model's output is not a number (NaN or infinite)");
  }
  if (task.at("kind") == "sentence-embedding") return {{"embedding", outputs}};
  const std::vector<std::string> labels = task.at("labels");
  Json scores = Json::object();
  if (task.at("problem") == "regression") {
    const bool squashed = task.value("activation", "") == "sigmoid";
    std::vector<double> values = outputs;
    if (squashed) std::transform(values.begin(), values.end(), values.begin(), sigmoid);
    if (labels.size() < 2) return {{"score", values.at(0)}};
    for (std::size_t i = 0; i < labels.size(); ++i) scores[labels[i]] = values.at(i);
    return {{"scores", scores}};
  }
  if (task.at("problem") == "multi-label") {
    Json chosen = Json::array();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      scores[labels[i]] = sigmoid(outputs.at(i));
      if (sigmoid(outputs.at(i)) >= 0.5) chosen.push_back(labels[i]);
    }
    return {{"labels", chosen}, {"scores", scores}};
  }
  const std::vector<double> shares = outputs.size() == 1 ? std::vector<double>{sigmoid(outputs[0])} : softmax(outputs);
  for (std::size_t i = 0; i < labels.size(); ++i) scores[labels[i]] = shares.at(i);
  const std::size_t best = static_cast<std::size_t>(std::max_element(shares.begin(), shares.end()) - shares.begin());
  return {{"label", labels.at(best)}, {"score", shares[best]}, {"scores", scores}};
}

// ONNX Runtime asks for its maker's host and keeps a device id under HOME unless this is set before it starts.
void turn_telemetry_off() {
#ifdef _WIN32
  _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
}

int main(int count, char** words) try {
  if (count < 3 || count > 4) {
    std::cerr << "usage: " << words[0] << " BUNDLE TEXT [SECOND TEXT]\n";
    return 2;
  }
  const std::filesystem::path bundle = words[1];
  const char* second = count == 4 ? words[3] : nullptr;
  const Json manifest = read_manifest(bundle);
  const Json graph = find_graph(manifest);
  if (manifest.at("task").value("pair", false) != (second != nullptr)) {
    std::cerr << "this model reads " << (second ? "one text" : "two texts at once") << "\n";
    return 2;
  }
  const std::string text = manifest.at("task").value("prompt", "") + words[2];
  turn_telemetry_off();
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "edgelm");
  environment.DisableTelemetryEvents();
  // ONNX Runtime finds the weights beside the graph by itself, and maps them into memory.
  Ort::Session session(environment, (bundle / graph.at("file").get<std::string>()).c_str(), make_options(graph));
  const Json answer = read_answer(manifest.at("task"), infer(session, graph, tokenize(bundle, manifest, text.c_str(), second)));
  std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "Error: " << error.what() << "\n";
  return 1;
}
