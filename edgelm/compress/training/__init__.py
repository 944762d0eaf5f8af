"""The training loop, its time limit, and rounding while training."""
