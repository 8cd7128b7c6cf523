"""Moved to `mbrl.training.loop`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
