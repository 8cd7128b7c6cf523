"""Planners: choose actions by asking a model what they would lead to."""

from mbrl.planners.base import ActionSelector, Model, Plan, Planner, Returns, rollout
from mbrl.planners.cem import CEM
from mbrl.planners.gradient import Gradient
from mbrl.planners.icem import ICEM
from mbrl.planners.mppi import MPPI
from mbrl.planners.objective import Objective
from mbrl.planners.up_mpc import UPMPC

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "UPMPC",
    "ActionSelector",
    "Gradient",
    "Model",
    "Objective",
    "Plan",
    "Planner",
    "Returns",
    "rollout",
]
