"""How long texts are where nobody says."""

# Tokens, of texts in training, evaluation and tables: what recipes carry, and cut to what the model takes.
DEFAULT_LENGTH = 128

LONGEST_READ = 512  # tokens, of texts that are exported for or measured, where the model takes more
