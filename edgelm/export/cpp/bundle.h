// What every example does with a bundle: read its manifest, and find a graph in it.

#pragma once

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

// The names of the inputs or outputs of a graph that have this role, in its order.
std::vector<std::string> names_of(const Json& tensors, const std::string& role);

// One line of JSON; what is no UTF-8 is replaced.
std::string to_line(const Json& answer);
