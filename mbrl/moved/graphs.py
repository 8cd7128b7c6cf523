"""Moved to `mbrl.nn.cuda_graphs`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
