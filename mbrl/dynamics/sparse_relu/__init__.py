"""Sparse ReLU networks as dynamics (Liu et al. 2023)."""

from mbrl.dynamics.sparse_relu.model import SparseReLU
from mbrl.dynamics.sparse_relu.training import RolloutTraining

__all__ = ["RolloutTraining", "SparseReLU"]
