"""Learned dynamics models, and the true simulator in their place."""

from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.normalizer import Normalizer
from mbrl.dynamics.simulator import Simulator

__all__ = ["Dynamics", "GaussianEnsemble", "Normalizer", "Simulator"]
