"""Learning from a teacher: its outputs, hidden states and attention relations."""
