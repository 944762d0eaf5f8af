"""How a model learns: the training loop, and what a teacher gives it."""
