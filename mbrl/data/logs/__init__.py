"""Recorded runs of robots (CSV, npz, Parquet, LeRobot, datasets) as episodes."""

from mbrl.data.logs.columns import read_columns, read_tables
from mbrl.data.logs.episodes import Episode, Log
from mbrl.data.logs.log import log_of_dataset, log_of_tables, read_log
from mbrl.data.logs.table import Columns

__all__ = [
    "Columns",
    "Episode",
    "Log",
    "log_of_dataset",
    "log_of_tables",
    "read_columns",
    "read_log",
    "read_tables",
]
