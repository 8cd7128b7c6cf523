"""Moved to `mbrl.imagination` (models as environments) and `mbrl` (GymAgent)."""

from typing import Any

from mbrl import moved


def __getattr__(name: str) -> Any:
    """Return a name from where it is now."""
    new = "mbrl" if name == "GymAgent" else "mbrl.imagination"
    return moved.module(__name__, new)(name)
