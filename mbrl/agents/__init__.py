"""Agents and policy learners."""

from mbrl.agents.base import Agent, Penalty, PolicyLearner
from mbrl.agents.dyna import Dyna
from mbrl.agents.model_free import ModelFree
from mbrl.agents.mpc import MPC
from mbrl.agents.random import Random
from mbrl.agents.sac import SAC

__all__ = ["MPC", "Agent", "Dyna", "ModelFree", "Penalty", "PolicyLearner", "Random", "SAC"]
