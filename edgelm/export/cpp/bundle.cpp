// See bundle.h.

#include "bundle.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <stdexcept>

namespace {

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

std::vector<std::string> names_of(const Json& tensors, const std::string& role) {
  std::vector<std::string> names;
  for (const Json& tensor : tensors) {
    if (tensor.at("role") == role) names.push_back(tensor.at("name"));
  }
  return names;
}

std::string to_line(const Json& answer) { return answer.dump(-1, ' ', false, Json::error_handler_t::replace); }
