"""Moved to `mbrl.training.logger`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
