"""Moved to `mbrl.training.run_folder`."""

from mbrl import moved

__getattr__ = moved.module(__name__)
