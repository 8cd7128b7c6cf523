"""Policies by hand for single environments: baselines, and exploration before there is a model."""

from mbrl.envs.policies.nudge import Nudge
from mbrl.envs.policies.nudge_pucks import NudgePucks
from mbrl.envs.policies.scripted_push import ScriptedPush

__all__ = ["Nudge", "NudgePucks", "ScriptedPush"]
