"""Policies as formulas."""

from mbrl.symbolic.sparse_policy import SparsePolicy

__all__ = [
    "SparsePolicy",
]
