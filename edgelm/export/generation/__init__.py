"""Graphs of models that write texts, built from their weights in onnxruntime's own operators: prompt and step in one
graph, keys and values of the tokens before in a cache that is written in place."""
