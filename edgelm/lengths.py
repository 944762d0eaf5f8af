"""How long texts are where nobody says."""

DEFAULT_LENGTH = (
    128  # tokens, of texts in training, evaluation and tables: what recipes carry, and cut to what the model takes
)
