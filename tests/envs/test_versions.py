"""The environments of D4RL's and NeoRL's data against gymnasium's own of that time, to the bit."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from mbrl.envs import tasks
from mbrl.envs.mujoco import threaded_mujoco

HIDDEN = "exclude_current_positions_from_observation"


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("with_x", [False, True])
@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "HalfCheetah"])
def test_version_4_is_exactly_gymnasiums(name, with_x):
    options = {} if name == "HalfCheetah" else {"version": "v4"}
    task = getattr(tasks, name)(with_x=with_x, **options)
    own = threaded_mujoco(task, num_envs=4, dtype=torch.float64)
    other = gymnasium.make_vec(
        f"{name}-v4",
        num_envs=4,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **{HIDDEN: not with_x},
    )
    shown = own.reset(5).numpy()
    np.testing.assert_array_equal(shown, other.reset(seed=5)[0])
    draws = np.random.default_rng(0)
    ended = 0
    for _ in range(150):
        action = draws.uniform(-1, 1, other.action_space.shape).astype(np.float32)
        step, theirs = own.step(torch.from_numpy(action)), other.step(action)
        np.testing.assert_array_equal(step.obs, theirs[0])
        np.testing.assert_array_equal(step.reward, theirs[1])
        np.testing.assert_array_equal(step.terminated, theirs[2])
        fallen = own.task.terminated(step.obs, torch.from_numpy(action), step.next_obs)
        assert fallen.equal(step.terminated)
        ended += int(step.terminated.sum())
    assert ended > 0 or name == "HalfCheetah"
    own.close()
    other.close()


@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "HalfCheetah"])
def test_names_and_positions_move_with_x(name):
    bare, shown = getattr(tasks, name)().task, getattr(tasks, name)(with_x=True).task
    assert shown.obs_names == ("x", *bare.obs_names)
    pairs = {(shown.obs_names[i], shown.obs_names[j]) for i, j in shown.positions}
    assert ("x", "x_dot") in pairs and len(pairs) == len(bare.positions) + 1
    assert all(speed == f"{place}_dot" for place, speed in pairs)


def test_versions_differ_in_what_the_fall_pays_and_in_the_feet():
    assert tasks.Walker2d().model_path != tasks.Walker2d("v4").model_path
    for task, upright in ((tasks.Hopper, 1.25), (tasks.Walker2d, 1.25)):
        now = {"qpos": np.zeros((2, 9)), "qvel": np.zeros((2, 9))}
        now["qpos"][0, 1] = upright  # the other lies
        still = np.zeros((2, 3), dtype=np.float32)
        paid = {v: task(v).outcome(now, still, now, 0.008)[0].tolist() for v in ("v4", "v5")}
        assert paid == {"v4": [1, 1], "v5": [1, 0]}
