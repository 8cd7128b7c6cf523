"""Moved to `mbrl.training.counters`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
