"""Checkpoint to Bundle: the ONNX graph, calibration, quantization, parity, and the folder that is shipped."""
