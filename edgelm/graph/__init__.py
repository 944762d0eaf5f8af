"""ONNX graphs as data: small exact rewrites, the blocks of an encoder, and sessions to run a graph in memory."""
