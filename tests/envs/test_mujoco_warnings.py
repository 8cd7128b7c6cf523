"""MuJoCo's resets in the middle of an episode are seen, and nothing else is."""

import gymnasium
import numpy as np
import pytest

from mbrl.envs.mujoco_warnings import MujocoWatch, describe_warnings, simulations_of


def watched(id: str, timestep: float | None):
    env = gymnasium.make(id)
    if timestep is not None:
        env.unwrapped.model.opt.timestep = timestep
    return env, MujocoWatch(env)


@pytest.mark.parametrize("id", ["HalfCheetah-v5", "Walker2d-v5"])
def test_a_reset_within_an_episode_is_named_in_each_of_them(id):
    env, watch = watched(id, 0.1)
    draws = np.random.default_rng(0)
    for _ in range(2):
        env.reset(seed=0)
        watch.start()
        problems = []
        while not problems:
            env.step(draws.uniform(-1, 1, env.action_space.shape).astype(np.float32))
            problems = list(filter(None, [watch.problem()]))
        assert "and reset the simulation by itself" in problems[0]
    env.close()


def test_a_reset_is_named_again_where_the_environment_clears_no_counters():
    env, watch = watched("InvertedPendulum-v5", None)
    env.reset(seed=0)
    watch.start()
    data = env.unwrapped.data
    for _ in range(3):
        env.step(np.zeros(1, np.float32))
        assert watch.problem() is None
        data.qvel[0] = 1e300
        env.step(np.zeros(1, np.float32))
        assert "huge number in its velocities" in (watch.problem() or "")
        assert watch.problem() is None
    env.close()


def test_a_sound_environment_has_no_problem_and_its_resets_are_none():
    env, watch = watched("Hopper-v5", None)
    for _ in range(3):
        env.reset()
        watch.start()
        ended = False
        while not ended:
            _, _, *flags, _ = env.step(env.action_space.sample())
            ended = any(flags)
            assert watch.problem() is None
    env.close()


def test_simulations_are_found_one_attribute_deep_and_none_without_mujoco():
    env = gymnasium.make("InvertedPendulum-v5")
    data = env.unwrapped.data
    assert simulations_of(env) == [data]

    class Holder:
        def __init__(self):
            self.data = data

    class Wrapped(gymnasium.Env):
        def __init__(self):
            self.sim = Holder()

    assert simulations_of(Wrapped()) == [data]
    assert simulations_of(gymnasium.make("CartPole-v1")) == []
    env.close()


def test_full_buffers_are_no_reset():
    assert describe_warnings(np.array([1, 1, 1, 0, 0, 0, 0])) is None
    assert "controls" in (describe_warnings(np.array([0, 0, 0, 0, 0, 0, 2])) or "")
