"""Agents: they act in an environment and learn from it."""

from typing import TYPE_CHECKING

from mbrl import lazy, moved

if TYPE_CHECKING:
    from mbrl.agents.dyna import Dyna
    from mbrl.agents.fitted_model import FittedModel
    from mbrl.agents.in_model import InModelAgent
    from mbrl.agents.model_free import ModelFree
    from mbrl.agents.mpc import MPC
    from mbrl.agents.offline import Offline, OfflineDyna
    from mbrl.agents.on_policy import OnPolicy
    from mbrl.agents.random import Random
    from mbrl.roles import Actor, Agent, OfflineAgent

__all__ = [
    "Actor",
    "Agent",
    "Dyna",
    "FittedModel",
    "InModelAgent",
    "MPC",
    "ModelFree",
    "Offline",
    "OfflineAgent",
    "OfflineDyna",
    "OnPolicy",
    "Random",
]

__getattr__, __dir__ = lazy.exports(__name__, moved.names(__name__))
