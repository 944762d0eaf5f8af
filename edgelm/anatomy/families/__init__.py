"""What the layers of each model family are called: one row a family."""
