"""Sparse identification of nonlinear dynamics (Brunton et al. 2016)."""

from mbrl.dynamics.sindy.model import SINDy

__all__ = ["SINDy"]
