"""Sparse identification of nonlinear dynamics (Brunton et al. 2016)."""

from mbrl.dynamics.sindy.model import SINDy
from mbrl.dynamics.sindy.settings import (
    LibrarySettings,
    RegressionSettings,
    RewardSettings,
    ValiditySettings,
)

__all__ = ["LibrarySettings", "RegressionSettings", "RewardSettings", "SINDy", "ValiditySettings"]
