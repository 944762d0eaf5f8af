"""Formats of other engines: what a checkpoint becomes for those who run llama.cpp, onnxruntime-genai,
OpenVINO or ExecuTorch already."""
