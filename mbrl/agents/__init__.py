"""Agents and policy learners."""

from mbrl.agents.base import Agent, Penalty, PolicyLearner
from mbrl.agents.dyna import Dyna
from mbrl.agents.model_free import ModelFree
from mbrl.agents.random import Random

__all__ = ["Agent", "Dyna", "ModelFree", "Penalty", "PolicyLearner", "Random"]
