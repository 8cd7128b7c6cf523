"""Names of `mbrl.nn.mlp` and `mbrl.nn.minimize` until all callers use them."""

from mbrl.nn.minimize import minimize as train
from mbrl.nn.mlp import MLP as Networks

__all__ = ["Networks", "train"]
