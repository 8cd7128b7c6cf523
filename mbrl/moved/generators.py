"""Moved to `mbrl.nn.generators`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
