"""ReLU networks as mathematics: evaluation, costs, proven bounds, mixed-integer programs."""

from mbrl.relu.bounds import Bounds, crown, interval
from mbrl.relu.cost import (
    PiecewiseLinearCost,
    Term,
    attach,
    distance,
    intrusion,
    learned_reward,
    least_cost,
    limits,
)
from mbrl.relu.network import (
    IDENTITY,
    RELU,
    ZERO,
    Layer,
    ReluNetwork,
    append,
    average,
    random_network,
)

__all__ = [
    "IDENTITY",
    "RELU",
    "ZERO",
    "Bounds",
    "Layer",
    "PiecewiseLinearCost",
    "ReluNetwork",
    "Term",
    "append",
    "attach",
    "average",
    "crown",
    "distance",
    "interval",
    "intrusion",
    "learned_reward",
    "least_cost",
    "limits",
    "random_network",
]
