"""Checkpoint to Checkpoint: fine-tune, distil, prune, recover; each stage measured."""
