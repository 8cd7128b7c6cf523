"""The framework's environments as gymnasium's Env and VectorEnv."""

import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from mbrl.envs.registry import OWN


@pytest.mark.parametrize("id", sorted(OWN))
def test_every_own_environment_passes_gymnasiums_checks(id):
    check_env(gymnasium.make(f"mbrl/{id}").unwrapped, skip_render_check=True)


def test_an_episodes_last_observation_is_in_the_info_and_the_next_begins():
    same = AutoresetMode.SAME_STEP
    env = gymnasium.make_vec("mbrl/PiecewiseAffine-v0", num_envs=2, autoreset_mode=same)
    env.reset(seed=1)
    still = np.zeros((2, 2), np.float32)
    for t in range(40):
        obs, _, terminated, truncated, info = env.step(still)
        assert truncated.all() == (t == 39) and not terminated.any()
    assert info["_final_obs"].all() and obs.dtype == np.float64
    assert not np.array_equal(np.stack(info["final_obs"]), obs)


def test_one_environment_is_the_first_of_many():
    one, many = gymnasium.make("mbrl/Hopper-v5"), gymnasium.make_vec("mbrl/Hopper-v5", num_envs=3)
    np.testing.assert_array_equal(one.reset(seed=4)[0], many.reset(seed=4)[0][0])
    action = np.full(3, 0.3, np.float32)
    step, steps = one.step(action), many.step(np.tile(action, (3, 1)))
    np.testing.assert_array_equal(step[0], steps[0][0])
    assert step[1:4] == (steps[1][0], steps[2][0], steps[3][0])
    one.close()
    many.close()


def test_rendering_is_left_as_the_user_set_it():
    """Importing the environments changes no variable that MuJoCo's renderer reads."""
    code = "import os, mbrl.envs; print(os.environ.get('MUJOCO_GL'))"
    bare = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"
