"""Models that write, measured: the first token by the length of the prompt, each further one by the context."""
