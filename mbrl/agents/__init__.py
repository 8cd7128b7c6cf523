"""Agents and policy learners."""

from mbrl.agents.base import Agent, ModelEnvLearner, Penalty, PolicyLearner
from mbrl.agents.dyna import Dyna
from mbrl.agents.in_model import InModel
from mbrl.agents.model_free import ModelFree
from mbrl.agents.mpc import MPC
from mbrl.agents.random import Random
from mbrl.agents.sac import SAC
from mbrl.agents.sb3 import SB3SAC
from mbrl.agents.sb3_ppo import SB3PPO, OnPolicy
from mbrl.agents.sparse_policy import SparsePolicy

__all__ = [
    "MPC",
    "SAC",
    "SB3PPO",
    "SB3SAC",
    "Agent",
    "Dyna",
    "InModel",
    "ModelEnvLearner",
    "ModelFree",
    "OnPolicy",
    "Penalty",
    "PolicyLearner",
    "Random",
    "SparsePolicy",
]
