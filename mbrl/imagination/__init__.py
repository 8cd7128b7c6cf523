"""Rolling a model out: returns of plans, branched rollouts, a model as an environment."""

from typing import Any

from mbrl.imagination.branched_rollouts import BranchedRollouts
from mbrl.imagination.gymnasium_env import ModelEnv, ModelVectorEnv
from mbrl.imagination.model_env import ImaginedVecEnv
from mbrl.imagination.rollout import Returns, rollout

__all__ = [
    "BranchedRollouts",
    "ImaginedVecEnv",
    "ModelEnv",
    "ModelVectorEnv",
    "Returns",
    "rollout",
]


def __getattr__(name: str) -> Any:
    """Return SB3ModelEnv when it is first used: it imports stable_baselines3."""
    if name == "SB3ModelEnv":
        from mbrl.imagination.sb3_env import SB3ModelEnv

        return SB3ModelEnv
    raise AttributeError(f"module 'mbrl.imagination' has no attribute {name!r}")
