"""Tasks: one environment a file."""

from typing import TYPE_CHECKING

from mbrl import lazy, moved

if TYPE_CHECKING:
    from mbrl.envs.tasks.ant import Ant
    from mbrl.envs.tasks.cartpole_swingup import CartpoleSwingup
    from mbrl.envs.tasks.classic_control import acrobot, cartpole, mountain_car_continuous
    from mbrl.envs.tasks.halfcheetah import HalfCheetah
    from mbrl.envs.tasks.hopper import Hopper
    from mbrl.envs.tasks.humanoid import Humanoid
    from mbrl.envs.tasks.humanoid_standup import HumanoidStandup
    from mbrl.envs.tasks.inverted_pendulum import InvertedDoublePendulum, InvertedPendulum
    from mbrl.envs.tasks.kuramoto_sivashinsky import KuramotoSivashinsky
    from mbrl.envs.tasks.mjcf import Mjcf
    from mbrl.envs.tasks.pendulum import Pendulum
    from mbrl.envs.tasks.piecewise_affine import PiecewiseAffine
    from mbrl.envs.tasks.push import Push
    from mbrl.envs.tasks.pusher import Pusher
    from mbrl.envs.tasks.reacher import Reacher
    from mbrl.envs.tasks.refrigerator import Refrigerator
    from mbrl.envs.tasks.rope import Rope
    from mbrl.envs.tasks.sort import Sort
    from mbrl.envs.tasks.swimmer import Swimmer
    from mbrl.envs.tasks.walker2d import Walker2d

__all__ = [
    "Ant",
    "CartpoleSwingup",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "HumanoidStandup",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "KuramotoSivashinsky",
    "Mjcf",
    "Pendulum",
    "PiecewiseAffine",
    "Push",
    "Pusher",
    "Reacher",
    "Refrigerator",
    "Rope",
    "Sort",
    "Swimmer",
    "Walker2d",
    "acrobot",
    "cartpole",
    "mountain_car_continuous",
]

__getattr__, __dir__ = lazy.exports(__name__, moved.names(__name__))
