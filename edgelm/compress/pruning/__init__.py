"""What a model can do without: scores, ladders, the choice within a goal, the knife, and what is mended afterwards."""
