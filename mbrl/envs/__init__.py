"""Environments, stepped many at once. Importing this registers the `mbrl/...` ids of gymnasium."""

from typing import TYPE_CHECKING

from mbrl import lazy
from mbrl.envs.closed_form import ClosedFormSimulation, ClosedFormTask, closed_form
from mbrl.envs.registration import register

if TYPE_CHECKING:
    from mbrl.envs.backend import mujoco_env
    from mbrl.envs.check import check_env
    from mbrl.envs.from_gymnasium import GymnasiumVecEnv
    from mbrl.envs.given import OnlyInPython, vec_env_of
    from mbrl.envs.mujoco import MujocoSimulation, threaded_mujoco
    from mbrl.envs.mujoco_task import MujocoTask
    from mbrl.envs.process import GymnasiumProcess
    from mbrl.envs.registry import make_vec
    from mbrl.envs.simulation import SimulatedVecEnv, Simulation, task_outcome
    from mbrl.envs.tasks.kuramoto_sivashinsky import kuramoto_sivashinsky
    from mbrl.envs.tasks.pendulum import pendulum
    from mbrl.envs.tasks.piecewise_affine import piecewise_affine
    from mbrl.envs.tasks.refrigerator import refrigerator
    from mbrl.envs.warp import WarpVecEnv
    from mbrl.roles import VecEnv, VecStep

# The one piece of work at import in this package, as gymnasium's own extensions do it:
# `import mbrl.envs` makes `gymnasium.make("mbrl/Hopper-v5")` work. Nothing is built.
register()

__all__ = [
    "ClosedFormSimulation",
    "ClosedFormTask",
    "GymnasiumProcess",
    "GymnasiumVecEnv",
    "MujocoSimulation",
    "MujocoTask",
    "OnlyInPython",
    "SimulatedVecEnv",
    "Simulation",
    "VecEnv",
    "VecStep",
    "WarpVecEnv",
    "check_env",
    "closed_form",
    "kuramoto_sivashinsky",
    "make_vec",
    "mujoco_env",
    "pendulum",
    "piecewise_affine",
    "refrigerator",
    "task_outcome",
    "threaded_mujoco",
    "vec_env_of",
]

__getattr__, __dir__ = lazy.exports(__name__)
