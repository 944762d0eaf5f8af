"""Bundle x machine -> Profile: latency, load time, memory, operators."""
