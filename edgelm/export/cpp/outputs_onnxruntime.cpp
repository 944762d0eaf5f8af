// See outputs.h: the graph by ONNX Runtime, tokens by the Hugging Face tokenizers library.

#include <cstdint>
#include <map>
#include <stdexcept>

#include "graphs.h"
#include "outputs.h"
#include "tokenizer.h"

namespace {

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

}  // namespace

std::vector<double> outputs_of(const std::filesystem::path& bundle, const Json& manifest, const std::string& first, const char* second) {
  const Json graph = find_graphs(manifest, {"model"}).at(0);
  Ort::Env environment = start_onnxruntime();
  Ort::Session session = open_graph(environment, bundle, manifest, graph);
  return infer(session, graph, tokenize(bundle, manifest, first, second));
}
