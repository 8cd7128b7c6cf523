"""Environments by id."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import gymnasium

from mbrl.envs import tasks
from mbrl.envs.backend import mujoco_env
from mbrl.envs.from_gymnasium import GymnasiumVecEnv
from mbrl.envs.simulation import SimulatedVecEnv
from mbrl.envs.tasks.kuramoto_sivashinsky import kuramoto_sivashinsky
from mbrl.envs.tasks.pendulum import pendulum
from mbrl.envs.tasks.piecewise_affine import piecewise_affine
from mbrl.envs.tasks.refrigerator import refrigerator
from mbrl.envs.warp import WarpVecEnv
from mbrl.errors import BadInput
from mbrl.roles import VecEnv
from mbrl.values import NumEnvs, checked

OWN: dict[str, Callable[..., SimulatedVecEnv | WarpVecEnv]] = {
    "Hopper-v5": lambda **k: mujoco_env(tasks.Hopper(), **k),
    "Walker2d-v5": lambda **k: mujoco_env(tasks.Walker2d(), **k),
    "HalfCheetah-v5": lambda **k: mujoco_env(tasks.HalfCheetah(), **k),
    "Swimmer-v5": lambda **k: mujoco_env(tasks.Swimmer(), **k),
    "InvertedPendulum-v5": lambda **k: mujoco_env(tasks.InvertedPendulum(), **k),
    "InvertedDoublePendulum-v5": lambda **k: mujoco_env(tasks.InvertedDoublePendulum(), **k),
    "Reacher-v5": lambda **k: mujoco_env(tasks.Reacher(), **k),
    "Ant-v5": lambda **k: mujoco_env(tasks.Ant(), **k),
    "Humanoid-v5": lambda **k: mujoco_env(tasks.Humanoid(), **k),
    "HumanoidStandup-v5": lambda **k: mujoco_env(tasks.HumanoidStandup(), **k),
    "Pusher-v5": lambda **k: mujoco_env(tasks.Pusher(), **k),
    "CartpoleSwingup-v0": lambda **k: mujoco_env(tasks.CartpoleSwingup(), **k),
    "CartpoleSwingupSparse-v0": lambda **k: mujoco_env(tasks.CartpoleSwingup(True), **k),
    "Push-v0": lambda **k: mujoco_env(tasks.Push(), **k),
    "PushBox-v0": lambda **k: mujoco_env(tasks.Push("box"), **k),
    "PushBoxPose-v0": lambda **k: mujoco_env(tasks.Push("box", "pose"), **k),
    "PushObstacle-v0": lambda **k: mujoco_env(tasks.Push(obstacle=True), **k),
    "Sort-v0": lambda **k: mujoco_env(tasks.Sort(), **k),
    "Rope-v0": lambda **k: mujoco_env(tasks.Rope(), **k),
    "PiecewiseAffine-v0": piecewise_affine,
    "KuramotoSivashinsky-v0": kuramoto_sivashinsky,
    "Pendulum-v1": pendulum,
    "PendulumSparse-v0": partial(pendulum, sparse=True),
    "PendulumWeak-v0": partial(pendulum, max_torque=0.7),
    "Refrigerator-v0": refrigerator,
}


def make_own(name: str, **kwargs: Any) -> SimulatedVecEnv | WarpVecEnv:
    """Build one of the framework's own environments.

    Args:
        name: key of OWN.
        kwargs: num_envs, seed, dtype, device; those of mujoco_env for a MuJoCo environment.

    Raises:
        BadInput: if the name is unknown, or a keyword.
    """
    if name not in OWN:
        raise BadInput(f"name={name}: should be one of {', '.join(OWN)}")
    return OWN[name](**kwargs)


@checked
def make_vec(
    id: str,
    num_envs: NumEnvs = 1,
    *,
    backend: Literal["threads", "warp", "gymnasium"] = "threads",
    seed: int = 0,
    **kwargs: Any,
) -> VecEnv:
    """Build a VecEnv by id.

    Args:
        id: of the framework's own environments ("Hopper-v5", with or without "mbrl/"), or any of
            gymnasium's.
        num_envs: copies stepped at once.
        backend: who steps the framework's own environments:
            "threads": the framework, in num_threads threads.
            "warp": MuJoCo Warp on the GPU, in float32; needs `dynaplan[gpu]`.
            "gymnasium": gymnasium's own implementation of that id.
        seed: environment i is seeded with seed + i.
        kwargs: num_threads, dtype, device; with "warp" device, nconmax, njmax; of a gymnasium
            environment time_limit, `kwargs`.

    Raises:
        BadInput: if id or backend is unknown, naming the nearest.
    """
    name = id.removeprefix("mbrl/")
    if name in OWN and backend != "gymnasium":
        if backend == "warp":
            kwargs = {**kwargs, "backend": backend}
        return make_own(name, num_envs=num_envs, seed=seed, **kwargs)
    if name in gymnasium.registry or ":" in name:
        if backend == "warp":
            raise BadInput(f"backend=warp: {id} is gymnasium's own; should be threads or gymnasium")
        return GymnasiumVecEnv(name, num_envs=num_envs, seed=seed, **kwargs)
    nearest = difflib.get_close_matches(name, [*OWN, *gymnasium.registry], n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise BadInput(f"id={id}: no such environment{hint}")
