"""Moved to `mbrl.nn.global_rng`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
