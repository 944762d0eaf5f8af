// Answers a text with a bundle, where there is no Python. Prints the JSON line that `python run.py` prints.
//
// With ONNX Runtime (the release archive for the device, unpacked), CMake, a C++17 compiler and Rust's cargo, which builds the Hugging
// Face tokenizers library (in tokenizer/); in the bundle:
//
//     cmake -S cpp -B ../answer -DONNXRUNTIME_ROOT=/path/to/onnxruntime     build outside: a bundle stays as it was made
//     cmake --build ../answer
//     ../answer/answer . "This is a great movie!"
//     ../answer/answer . "A man eats." "Someone eats."                      where the model reads two texts at once
//
// With edgelm-native instead, where the bundle holds `native.program` and `native.tokenizer`: one library that is linked in, and neither
// ONNX Runtime nor cargo.
//
//     cmake -S cpp -B ../answer -DEDGELM_NATIVE=/path/to/edgelm/native      the folder of its source
//
// A bundle that is one file (.edgelm) is a zip archive: unpack it first. Hashes are not checked here: `python run.py --verify` does.
// Models for text classification and sentence embedding are answered; those for other tasks are for the Python runtime, but for
// models that write: their bundles carry write.cpp. The graph runs on the CPU; engines that a bundle may hold for a GPU are for the
// Python runtime.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "bundle.h"
#include "outputs.h"

void check_kind(const Json& manifest) {
  const std::string kind = manifest.at("task").at("kind");
  if (kind != "text-classification" && kind != "sentence-embedding") {
    throw std::runtime_error("manifest.json: the model is for " + kind +
                             "; this example answers text classification and sentence embedding alone. `python run.py` answers it");
  }
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
  if (manifest.at("task").value("pair", false) != (second != nullptr)) {
    std::cerr << "this model reads " << (second ? "one text" : "two texts at once") << "\n";
    return 2;
  }
  const std::string text = manifest.at("task").value("prompt", "") + words[2];
  const Json answer = read_answer(manifest.at("task"), outputs_of(bundle, manifest, text, second));
  std::cout << to_line(answer) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "Error: " << error.what() << "\n";
  return 1;
}
