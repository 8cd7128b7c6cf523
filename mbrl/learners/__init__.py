"""Policy learners: they improve a policy with real and imagined transitions."""

from typing import TYPE_CHECKING

from mbrl import lazy

if TYPE_CHECKING:
    from mbrl.learners.bc import BC
    from mbrl.learners.in_model import InModelLearner
    from mbrl.learners.iql import IQL
    from mbrl.learners.penalties import BellmanPenalty, UncertaintyPenalty
    from mbrl.learners.sac import SAC
    from mbrl.learners.sb3_ppo import SB3PPO, PPOLoss
    from mbrl.learners.sb3_sac import SB3SAC
    from mbrl.learners.td3_bc import TD3BC

__all__ = [
    "BC",
    "BellmanPenalty",
    "IQL",
    "InModelLearner",
    "PPOLoss",
    "SAC",
    "SB3PPO",
    "SB3SAC",
    "TD3BC",
    "UncertaintyPenalty",
]

__getattr__, __dir__ = lazy.exports(__name__)
