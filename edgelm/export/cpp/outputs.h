// What a model computes of a text: by ONNX Runtime (outputs_onnxruntime.cpp) or by edgelm-native (outputs_native.cpp), whichever the
// program was built with.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bundle.h"

// The logits, or the sentence vector, of a text or of a pair of texts (`second` null: one).
std::vector<double> outputs_of(const std::filesystem::path& bundle, const Json& manifest, const std::string& first, const char* second);
