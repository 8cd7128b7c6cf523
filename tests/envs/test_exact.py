"""The framework's environments against gymnasium's own, in the same process."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import mbrl.envs  # noqa: F401 (registers the ids)

MUJOCO = [
    "Hopper-v5",
    "Walker2d-v5",
    "HalfCheetah-v5",
    "Swimmer-v5",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
]


def pair(id: str, num_envs: int = 4, **kwargs):
    own = gymnasium.make_vec(f"mbrl/{id}", num_envs=num_envs, **kwargs)
    other = gymnasium.make_vec(
        id,
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
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


@pytest.mark.parametrize("id", MUJOCO)
def test_mujoco_is_exactly_gymnasium(id):
    ended = compare(id, seeds=8, steps=200, tolerance=0.0)
    assert ended > 0 or id in ("HalfCheetah-v5", "Swimmer-v5")


def test_two_threads_change_nothing():
    compare("Hopper-v5", seeds=2, steps=100, tolerance=0.0, num_threads=2, num_envs=5)


@pytest.mark.parametrize("id", ["HalfCheetah-v5", "Swimmer-v5"])
def test_the_time_limit_truncates_as_gymnasiums(id):
    assert compare(id, seeds=1, steps=1001, tolerance=0.0) == 4


def test_pendulum_is_gymnasiums():
    assert compare("Pendulum-v1", seeds=8, steps=210, tolerance=1e-6) == 32


def test_foreign_environments_are_gymnasiums_own():
    """The adapter against gymnasium's vector environment, float32."""
    import torch

    from mbrl.envs import make_vec

    for id, discrete in (("CartPole-v1", True), ("MountainCarContinuous-v0", False)):
        own = make_vec(id, num_envs=3)
        other = gymnasium.make_vec(
            id,
            num_envs=3,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )
        a, b = own.reset(5).numpy(), other.reset(seed=5)[0]
        assert np.array_equal(a, b.astype(np.float32))
        draws = torch.Generator().manual_seed(0)
        ended = 0
        for _ in range(1000):
            action = own.action.sample(3, generator=draws)
            taken = action.argmax(1).numpy() if discrete else action.numpy()
            step, seen = own.step(action), other.step(taken)
            for x, y in zip((step.obs, step.reward, step.terminated, step.truncated), seen[:4],
                            strict=True):  # fmt: skip
                assert np.array_equal(x.numpy(), y.astype(x.numpy().dtype))
            for i in np.flatnonzero(seen[4].get("_final_obs", [])):
                last = seen[4]["final_obs"][i].astype(np.float32)
                assert np.array_equal(step.next_obs[i].numpy(), last)
                ended += 1
        assert ended > 0
