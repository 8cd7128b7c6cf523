"""Agents and policy learners."""

from mbrl.agents.base import (
    Actor,
    Agent,
    ModelEnvLearner,
    OfflineAgent,
    Penalty,
    PolicyLearner,
)
from mbrl.agents.bc import BC
from mbrl.agents.dyna import Dyna
from mbrl.agents.in_model import InModel
from mbrl.agents.iql import IQL
from mbrl.agents.model_free import ModelFree
from mbrl.agents.mpc import MPC
from mbrl.agents.offline import Offline, OfflineDyna
from mbrl.agents.penalties import BellmanPenalty, UncertaintyPenalty
from mbrl.agents.random import Random
from mbrl.agents.sac import SAC
from mbrl.agents.sb3 import SB3SAC
from mbrl.agents.sb3_ppo import SB3PPO, OnPolicy
from mbrl.agents.sparse_policy import SparsePolicy
from mbrl.agents.td3_bc import TD3BC

__all__ = [
    "Actor",
    "Agent",
    "BC",
    "BellmanPenalty",
    "Dyna",
    "IQL",
    "InModel",
    "MPC",
    "ModelEnvLearner",
    "ModelFree",
    "Offline",
    "OfflineAgent",
    "OfflineDyna",
    "OnPolicy",
    "Penalty",
    "PolicyLearner",
    "Random",
    "SAC",
    "SB3PPO",
    "SB3SAC",
    "SparsePolicy",
    "TD3BC",
    "UncertaintyPenalty",
]
