"""Trajectories of the framework's environments beside gymnasium's own."""

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

import mbrl.envs  # noqa: F401 (registers the ids)
from mbrl.envs import tasks
from mbrl.envs.mujoco import threaded_mujoco


def pair(id: str, num_envs: int = 4, **kwargs):
    same = AutoresetMode.SAME_STEP
    own = gymnasium.make_vec(f"mbrl/{id}", num_envs=num_envs, autoreset_mode=same, **kwargs)
    other = gymnasium.make_vec(
        id,
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": same},
    )
    return own, other


def compare(id: str, seeds: int, steps: int, tolerance: float, **kwargs) -> int:
    """Compare whole trajectories; give the number of episodes that ended."""
    own, other = pair(id, **kwargs)
    assert own.single_action_space == other.single_action_space
    assert own.single_observation_space == other.single_observation_space
    ended = 0
    for seed in range(seeds):
        a, b = own.reset(seed=seed)[0], other.reset(seed=seed)[0]
        assert a.dtype == b.dtype and np.abs(a - b).max() <= tolerance
        draws = np.random.default_rng(seed)
        for _ in range(steps):
            space = other.action_space
            action = draws.uniform(space.low, space.high).astype(np.float32)
            a, b = own.step(action.copy()), other.step(action.copy())
            for x, y in zip(a[:4], b[:4], strict=True):
                assert x.shape == y.shape
                assert np.abs(x.astype(float) - y.astype(float)).max() <= tolerance
            if "final_obs" in b[4]:
                done = b[4]["_final_obs"]
                assert (a[4]["_final_obs"] == done).all()
                for i in np.flatnonzero(done):
                    x, y = a[4]["final_obs"][i], b[4]["final_obs"][i]
                    assert np.abs(x - y).max() <= tolerance
                ended += done.sum()
    own.close()
    other.close()
    return ended


HIDDEN = "exclude_current_positions_from_observation"


def compare_v4(name: str, with_x: bool) -> int:
    """Compare with gymnasium's version 4, to the bit; give the number of episodes that ended."""
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
    own.close()
    other.close()
    return ended
