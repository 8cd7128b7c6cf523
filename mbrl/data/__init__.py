"""Offline data: collected from agents, kept as Minari datasets, read back and checked.

The files of D4RL (HDF5) and NeoRL (npz) are read too.
"""

from mbrl.data.collect import Source, collect, merge
from mbrl.data.dataset import Dataset, content_hash
from mbrl.data.load import load_dataset
from mbrl.data.minari_files import save_dataset
from mbrl.data.spaces import Spaces

__all__ = [
    "Dataset",
    "Source",
    "Spaces",
    "collect",
    "content_hash",
    "load_dataset",
    "merge",
    "save_dataset",
]
