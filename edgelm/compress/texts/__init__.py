"""What models are trained on and read in: further texts, and the tokens that are needed for them."""
