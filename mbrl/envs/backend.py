"""Who steps a MuJoCo task: MuJoCo in threads, or MuJoCo Warp on a GPU."""

from __future__ import annotations

from typing import Any, Literal

import torch

from mbrl.envs.mujoco import threaded_mujoco
from mbrl.envs.mujoco_task import MujocoTask
from mbrl.envs.simulation import SimulatedVecEnv
from mbrl.envs.warp import WarpVecEnv
from mbrl.errors import BadInput
from mbrl.values import Count, NonNegative, NumEnvs, NumThreads, checked


@checked
def mujoco_env(
    task: MujocoTask,
    *,
    backend: Literal["threads", "warp"] = "threads",
    num_envs: NumEnvs = 1,
    seed: int = 0,
    num_threads: NumThreads = 1,
    randomize: dict[str, list[NonNegative]] | None = None,
    nconmax: Count | None = None,
    njmax: Count | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> SimulatedVecEnv | WarpVecEnv:
    """Build a VecEnv of a MuJoCo task.

    Args:
        task: the model and its equations.
        backend: who steps it:
            "threads": MuJoCo on the CPU, in float64, as gymnasium does to the last bit.
            "warp": MuJoCo Warp on the device, in float32; needs `dynaplan[gpu]`.
        num_envs: copies stepped at once.
        seed: environment i draws its first start from seed + i.
        num_threads: threads that step or simulate them; of "threads".
        randomize: ranges of physical parameters, which each episode draws anew, such as
            {body_mass: [0.8, 1.2], delay: [0, 0.02]}; null for the model's own. See
            PhysicalParameters; of "threads".
        nconmax: contacts per environment, null for MuJoCo Warp's guess; of "warp".
        njmax: rows of constraints in an environment, null for MuJoCo Warp's guess; of "warp".
        dtype: of observations and rewards; "warp" has float32 only.
        device: of the tensors that are returned, and of the simulation of "warp"; None for the
            CPU, with "warp" for the GPU.

    Raises:
        BadInput: if an argument is of the other back end, or as the back end says.
    """
    if device is None:
        device = "cpu" if backend == "threads" else "cuda"
    common: dict[str, Any] = {"num_envs": num_envs, "seed": seed, "device": device}
    if backend == "threads":
        _refuse({"nconmax": (nconmax, None), "njmax": (njmax, None)}, "warp")
        return threaded_mujoco(
            task, **common, num_threads=num_threads, randomize=randomize, dtype=dtype
        )
    theirs = {"num_threads": (num_threads, 1), "randomize": (randomize, None)}
    _refuse({**theirs, "dtype": (dtype, torch.float32)}, "threads")
    return WarpVecEnv(task, **common, nconmax=nconmax, njmax=njmax)


def _refuse(given: dict[str, tuple[object, object]], backend: str) -> None:
    """Check that arguments of another back end have their defaults.

    Raises:
        BadInput: naming the first that has not.
    """
    for name, (value, default) in given.items():
        if value != default:
            raise BadInput(f"{name}={value}: should be {default}, or take backend={backend}")
