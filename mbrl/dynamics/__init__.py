"""Learned dynamics models, and the true simulator in their place."""

from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.fallback import Fallback
from mbrl.dynamics.normalizer import Normalizer
from mbrl.dynamics.residual import Residual
from mbrl.dynamics.simulator import Simulator
from mbrl.dynamics.sindy import SINDy

__all__ = [
    "Dynamics",
    "Fallback",
    "GaussianEnsemble",
    "Normalizer",
    "Residual",
    "SINDy",
    "Simulator",
]
