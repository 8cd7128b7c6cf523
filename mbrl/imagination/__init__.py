"""Rolling a model out: returns of plans, branched rollouts, a model as an environment."""

from typing import TYPE_CHECKING

from mbrl import lazy
from mbrl.imagination.rollout import Returns, rollout

if TYPE_CHECKING:
    from mbrl.imagination.branched_rollouts import BranchedRollouts
    from mbrl.imagination.gymnasium_env import ModelEnv, ModelVectorEnv
    from mbrl.imagination.model_env import ImaginedVecEnv
    from mbrl.imagination.sb3_env import SB3ModelEnv as SB3ModelEnv  # needs stable_baselines3

__all__ = [
    "BranchedRollouts",
    "ImaginedVecEnv",
    "ModelEnv",
    "ModelVectorEnv",
    "Returns",
    "rollout",
]

__getattr__, __dir__ = lazy.exports(__name__)
