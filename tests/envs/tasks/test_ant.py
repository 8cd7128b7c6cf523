"""Ant against gymnasium's, to the bit."""

import numpy as np
import torch

from mbrl.envs import tasks
from tests.envs.compare import compare


def test_it_is_exactly_gymnasiums():
    assert compare("Ant-v5", seeds=4, steps=100, tolerance=0.0) > 0


def test_it_ends_outside_the_healthy_heights_and_where_numbers_are_not_finite():
    task = tasks.Ant()
    heights = np.array([0.19, 0.2, 1.0, 1.01, 0.5])
    now = {"qpos": np.zeros((5, 15)), "qvel": np.zeros((5, 14)), "xpos": np.zeros((5, 14, 3))}
    now |= {"cfrc_ext": np.zeros((5, 14, 6))}
    now["qpos"][:, 2] = heights
    ends = task.outcome(now, np.zeros((5, 8), np.float32), now, 0.05)[1]
    assert ends.tolist() == [True, False, False, True, False]
    obs = torch.from_numpy(task.observe(now))
    assert task.task.terminated(obs, obs, obs).tolist() == ends.tolist()
    now["qvel"][4, 3] = np.nan
    assert task.outcome(now, np.zeros((5, 8), np.float32), now, 0.05)[1][4]
