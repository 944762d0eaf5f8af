// Graphs of a bundle in ONNX Runtime.

#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "bundle.h"

// ONNX Runtime, with its telemetry off.
Ort::Env start_onnxruntime();

// A graph of the bundle, to be run on the CPU. `threads`: 0: what the manifest says. `growing`: every run has shapes of its own, as a text
// that is written.
Ort::Session open_graph(Ort::Env& environment, const std::filesystem::path& bundle, const Json& manifest, const Json& graph,
                        int threads = 0, bool growing = false);

// Values of (1, n) int64 as a tensor, which must live as long.
Ort::Value as_tensor(std::vector<std::int64_t>& values);
