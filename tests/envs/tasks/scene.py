"""Scenes set up by hand."""

import numpy as np
import torch

from mbrl.envs.mujoco import threaded_mujoco
from mbrl.envs.tasks import Push


def place(env, qpos):
    env.reset(0)
    simulation = env.simulation
    state = np.zeros_like(simulation.get_state())
    state[:, 1 : 1 + simulation.model.nq] = qpos  # after the time
    simulation.set_state(state)


def make_push(num_envs: int = 1, **options):
    task = Push(**options)
    return task, threaded_mujoco(task, num_envs=num_envs, dtype=torch.float64)
