"""The faces that other software uses: models as its environments, agents in its shape."""

from typing import Any

from mbrl.gym.core import ImaginedVecEnv
from mbrl.gym.faces import ModelEnv, ModelVectorEnv

__all__ = ["ImaginedVecEnv", "ModelEnv", "ModelVectorEnv"]  # and GymAgent, SB3ModelEnv, on demand


def __getattr__(name: str) -> Any:
    """Hand on SB3ModelEnv, which imports SB3, and GymAgent.

    GymAgent composes configs and so lives on the top floor, beside `load`; the package's front
    door, which may know every room, has it.
    """
    if name == "SB3ModelEnv":
        from mbrl.gym.sb3 import SB3ModelEnv

        return SB3ModelEnv
    if name == "GymAgent":
        import mbrl

        return mbrl.GymAgent
    raise AttributeError(f"module 'mbrl.gym' has no attribute {name!r}")
