"""Panels of `--help`: what kind of option stands where, under the same name for every command.

What a command works on (data, outputs, device, recipe, precision) stands in the first panel, which has no other name.
"""

ROWS = "Data and model"
BUDGET = "Budget"
TRAINING = "Training"
QUANTIZATION = "Quantization"
GRAPH = "Graph and engine"
MEASURING = "Measuring"
HOSTS = "Other machines"
LIMITS = "Limits"
WRITING = "Models that write"
SIGNATURES = "Signatures"
COSTS = "Costs"
OUTPUT = "Output"
