"""HalfCheetah against gymnasium's, to the bit."""

import pytest

from mbrl.envs import tasks
from tests.envs.compare import compare, compare_v4


def test_it_is_exactly_gymnasiums():
    assert compare("HalfCheetah-v5", seeds=8, steps=200, tolerance=0.0) == 0


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("with_x", [False, True])
def test_version_4_is_exactly_gymnasiums(with_x):
    assert compare_v4("HalfCheetah", with_x) == 0


def test_names_and_positions_move_with_x():
    bare, shown = tasks.HalfCheetah().task, tasks.HalfCheetah(with_x=True).task
    assert shown.obs_names == ("x", *bare.obs_names)
    pairs = {(shown.obs_names[i], shown.obs_names[j]) for i, j in shown.positions}
    assert ("x", "x_dot") in pairs and len(pairs) == len(bare.positions) + 1
    assert all(speed == f"{place}_dot" for place, speed in pairs)


def test_the_time_limit_truncates_as_gymnasiums():
    assert compare("HalfCheetah-v5", seeds=1, steps=1001, tolerance=0.0) == 4
