"""Walker2d against gymnasium's, to the bit."""

import numpy as np
import pytest

from mbrl.envs import tasks
from tests.envs.compare import compare, compare_v4


def test_it_is_exactly_gymnasiums():
    assert compare("Walker2d-v5", seeds=8, steps=200, tolerance=0.0) > 0


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("with_x", [False, True])
def test_version_4_is_exactly_gymnasiums(with_x):
    assert compare_v4("Walker2d", with_x) > 0


def test_names_and_positions_move_with_x():
    bare, shown = tasks.Walker2d().task, tasks.Walker2d(with_x=True).task
    assert shown.obs_names == ("x", *bare.obs_names)
    pairs = {(shown.obs_names[i], shown.obs_names[j]) for i, j in shown.positions}
    assert ("x", "x_dot") in pairs and len(pairs) == len(bare.positions) + 1
    assert all(speed == f"{place}_dot" for place, speed in pairs)


def test_version_4_also_pays_for_health_in_the_step_of_the_fall():
    now = {"qpos": np.zeros((2, 9)), "qvel": np.zeros((2, 9))}
    now["qpos"][0, 1] = 1.25  # upright; the other lies
    still = np.zeros((2, 3), dtype=np.float32)
    for version, rewards in (("v4", [1, 1]), ("v5", [1, 0])):
        reward, terminated = tasks.Walker2d(version).outcome(now, still, now, 0.008)
        assert reward.tolist() == rewards and terminated.tolist() == [False, True]


def test_the_feet_of_version_4_differ():
    assert tasks.Walker2d().model_path != tasks.Walker2d("v4").model_path
