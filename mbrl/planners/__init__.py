"""Planners: choose actions by the return that a model predicts for them."""

from typing import TYPE_CHECKING

from mbrl import lazy

if TYPE_CHECKING:
    from mbrl.imagination.rollout import Returns, rollout
    from mbrl.planners.cem import CEM
    from mbrl.planners.exact.bab import BaB
    from mbrl.planners.exact.mip import MIP
    from mbrl.planners.exact.piecewise_linear import PiecewiseLinearModel
    from mbrl.planners.gradient import Gradient
    from mbrl.planners.icem import ICEM
    from mbrl.planners.mppi import MPPI
    from mbrl.planners.objective import Objective
    from mbrl.planners.predictive_sampling import PredictiveSampling
    from mbrl.planners.sampling import SamplingPlanner
    from mbrl.planners.up_mpc import UPMPC
    from mbrl.roles import ActionSelector, Model, Plan, Planner

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
    "PredictiveSampling",
    "Returns",
    "SamplingPlanner",
    "rollout",
]

__getattr__, __dir__ = lazy.exports(__name__)
