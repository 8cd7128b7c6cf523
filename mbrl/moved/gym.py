"""Moved to `mbrl.imagination` (models as environments) and `mbrl` (GymAgent)."""

from mbrl import moved

__getattr__ = moved.module(__name__)
