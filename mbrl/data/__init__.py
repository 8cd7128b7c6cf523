"""Datasets: collected with agents, of Minari, D4RL and NeoRL, and logs of recorded runs."""

from mbrl.data.collect import Source, collect, merge
from mbrl.data.dataset import Dataset, content_hash
from mbrl.data.load import load_dataset
from mbrl.data.logs.system import RecordedSystem
from mbrl.data.minari_writer import new_dataset, save_dataset, write_dataset
from mbrl.data.spaces import Spaces

__all__ = [
    "Dataset",
    "RecordedSystem",
    "Source",
    "Spaces",
    "collect",
    "content_hash",
    "load_dataset",
    "merge",
    "new_dataset",
    "save_dataset",
    "write_dataset",
]
