"""Structural pruning: scores, pruning levels of every module, the choice within constraints, smaller matrices, and
least squares afterwards."""
