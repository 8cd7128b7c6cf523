"""Sparse ReLU networks as dynamics (Liu et al. 2023)."""

from mbrl.dynamics.sparse_relu.model import SparseReLU

__all__ = ["SparseReLU"]
