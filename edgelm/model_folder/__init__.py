"""What the files of a model folder say: configuration, weights, adapters, modules of sentence-transformers."""
