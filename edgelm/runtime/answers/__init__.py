"""From outputs to answers."""
