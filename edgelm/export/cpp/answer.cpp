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
// Models for text classification and sentence embedding are answered; those for other tasks are for the Python runtime, but for
// models that write: their bundles carry write.cpp. The graph runs on the CPU; engines that a bundle may hold for a GPU are for the
// Python runtime.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "bundle.h"
#include "tokenizer.h"

void check_kind(const Json& manifest) {
  const std::string kind = manifest.at("task").at("kind");
  if (kind != "text-classification" && kind != "sentence-embedding") {
    throw std::runtime_error("manifest.json: the model is for " + kind +
                             "; this example answers text classification and sentence embedding alone. `python run.py` answers it");
  }
}

// The graph's inputs by name, each of one row; cut at the model's longest, and not padded, since the text is alone.
std::map<std::string, std::vector<std::int64_t>> tokenize(const std::filesystem::path& bundle, const Json& manifest,
                                                          const std::string& first, const char* second) {
  const Json& settings = manifest.at("tokenization");
  const Tokenizer tokenizer(bundle, settings.at("max_length"), settings.value("truncation_side", "right") == "left",
                            settings.value("split_special", false));
  const Tokens tokens = tokenizer.encode(first, second);
  if (tokens.ids.empty()) throw std::runtime_error("the text becomes no token, and the model cannot read nothing");
  return {{"input_ids", tokens.ids}, {"attention_mask", tokens.mask}, {"token_type_ids", tokens.type_ids}};
}

// Runs the graph: the logits, or the sentence vector, of one row.
std::vector<double> infer(Ort::Session& session, const Json& graph, std::map<std::string, std::vector<std::int64_t>> fields) {
  std::vector<std::string> names;  // a graph asks for some of the fields: one made by `export --single` for the tokens alone
  for (const Json& input : graph.at("inputs")) names.push_back(input.at("name"));
  std::vector<const char*> input_names;
  std::vector<Ort::Value> inputs;
  for (const std::string& name : names) {
    inputs.push_back(as_tensor(fields.at(name)));
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

int main(int count, char** words) try {
  if (count < 3 || count > 4) {
    std::cerr << "usage: " << words[0] << " BUNDLE TEXT [SECOND TEXT]\n";
    return 2;
  }
  const std::filesystem::path bundle = words[1];
  const char* second = count == 4 ? words[3] : nullptr;
  const Json manifest = read_manifest(bundle);
  check_kind(manifest);
  const Json graph = find_graphs(manifest, {"model"}).at(0);
  if (manifest.at("task").value("pair", false) != (second != nullptr)) {
    std::cerr << "this model reads " << (second ? "one text" : "two texts at once") << "\n";
    return 2;
  }
  const std::string text = manifest.at("task").value("prompt", "") + words[2];
  Ort::Env environment = start_onnxruntime();
  Ort::Session session = open_graph(environment, bundle, manifest, graph);
  const Json answer = read_answer(manifest.at("task"), infer(session, graph, tokenize(bundle, manifest, text, second)));
  std::cout << to_line(answer) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "Error: " << error.what() << "\n";
  return 1;
}
