"""Learned dynamics models."""

from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.normalizer import Normalizer

__all__ = ["Dynamics", "GaussianEnsemble", "Normalizer"]
