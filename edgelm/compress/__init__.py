"""Checkpoint to Checkpoint: fine-tune, distil, prune, recover; each stage measured. Called, it is
`edgelm.compress.pipeline.compress`."""

from edgelm.callable_package import make_callable

make_callable(__name__)
