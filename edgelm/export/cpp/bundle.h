// What every example does with a bundle: read its manifest, find a graph in it, and open the graph in ONNX Runtime.

#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using Json = nlohmann::ordered_json;  // keeps labels in the order of the model

constexpr int kSchema = 4;  // of manifest.json: the newest that these examples read

// manifest.json of a bundle that is a folder.
Json read_manifest(const std::filesystem::path& bundle);

// What the manifest says of the graphs of the model, which must be exactly these. Up to schema 3 there is one, `model`.
std::vector<Json> find_graphs(const Json& manifest, const std::vector<std::string>& names);

// ONNX Runtime, with its telemetry off.
Ort::Env start_onnxruntime();

// A graph of the bundle, to be run on the CPU. `threads`: 0: what the manifest says. `growing`: every run has shapes of its own, as a text
// that is written.
Ort::Session open_graph(Ort::Env& environment, const std::filesystem::path& bundle, const Json& manifest, const Json& graph,
                        int threads = 0, bool growing = false);

// The names of the inputs or outputs of a graph that have this role, in its order.
std::vector<std::string> names_of(const Json& tensors, const std::string& role);

// Values of (1, n) int64 as a tensor, which must live as long.
Ort::Value as_tensor(std::vector<std::int64_t>& values);

// One line of JSON; what is no UTF-8 is replaced.
std::string to_line(const Json& answer);
