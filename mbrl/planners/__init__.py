"""Planners: choose actions by asking a model what they would lead to."""

from mbrl.planners.bab import BaB
from mbrl.planners.base import ActionSelector, Model, Plan, Planner, Returns, rollout
from mbrl.planners.cem import CEM
from mbrl.planners.gradient import Gradient
from mbrl.planners.icem import ICEM
from mbrl.planners.mip import MIP
from mbrl.planners.mppi import MPPI
from mbrl.planners.objective import Objective
from mbrl.planners.piecewise_linear import PiecewiseLinearModel
from mbrl.planners.up_mpc import UPMPC

__all__ = [
    "BaB",
    "CEM",
    "ICEM",
    "MIP",
    "MPPI",
    "UPMPC",
    "ActionSelector",
    "Gradient",
    "Model",
    "Objective",
    "PiecewiseLinearModel",
    "Plan",
    "Planner",
    "Returns",
    "rollout",
]
