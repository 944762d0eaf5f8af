"""Formats of other engines: what a checkpoint becomes for those who run llama.cpp or onnxruntime-genai already."""
