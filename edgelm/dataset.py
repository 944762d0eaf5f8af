"""The former name of `edgelm.data.dataset`, for programs that import it from here."""

from edgelm.data.dataset import Columns, Dataset, load_dataset

__all__ = ["Columns", "Dataset", "load_dataset"]
