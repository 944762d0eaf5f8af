"""From samples to the inputs of a graph."""
