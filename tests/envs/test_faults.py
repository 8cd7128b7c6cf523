"""What breaks is named with its index and step; what cannot be is refused in one line."""

import time

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import mbrl
from mbrl.envs import GymnasiumVecEnv
from mbrl.envs.workers import DaemonPool, Hang
from mbrl.errors import BadInput, EnvironmentFault


class Broken(gymnasium.Env):
    """Goes wrong in its own way at its third step."""

    def __init__(self, how: str = "", space: spaces.Space | None = None, obs=None):
        self.how = how
        self.action_space = space or spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = obs or spaces.Box(-9, 9, (3,), np.float64)
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(3), {}

    def step(self, action):
        self.steps += 1
        obs, reward = np.full(3, 0.1), 1.0
        if self.steps == 3:
            if self.how == "nan obs":
                obs[1] = np.nan
            elif self.how == "inf obs":
                obs[1] = np.inf
            elif self.how == "nan reward":
                reward = float("nan")
            elif self.how == "raises":
                raise ValueError("the robot fell off")
            elif self.how == "hangs":
                time.sleep(30)
            elif self.how == "changes the action":
                action += 1
        return obs, reward, False, False, {}


gymnasium.register("BrokenForTests-v0", entry_point=Broken, max_episode_steps=10)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("nan obs", "a NaN in the observation"),
        ("inf obs", "an infinity in the observation"),
        ("nan reward", "a NaN in the reward"),
        ("raises", "raised ValueError: the robot fell off"),
        ("hangs", "no answer within 0.3 s"),
    ],
)
def test_the_fault_is_named_with_index_and_step(how, named):
    env = GymnasiumVecEnv(
        "BrokenForTests-v0",
        num_envs=3,
        kwargs={"how": ""},
        time_limit=0.3 if how == "hangs" else None,
    )
    env._envs[1].unwrapped.how = how
    env.reset(0)
    for _ in range(2):
        env.step(torch.zeros(3, 2))
    with pytest.raises(EnvironmentFault) as caught:
        env.step(torch.zeros(3, 2))
    assert (caught.value.index, caught.value.step) == (1, 3)
    assert str(caught.value) == f"environment 1, step 3: {named}"


def test_an_environment_cannot_change_the_action_it_is_given():
    env = GymnasiumVecEnv("BrokenForTests-v0", num_envs=1, kwargs={"how": "changes the action"})
    env.reset(0)
    action = torch.zeros(1, 2)
    for _ in range(4):
        env.step(action)
    assert action.equal(torch.zeros(1, 2))


@pytest.mark.parametrize("id", ["Hopper-v5", "Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize(("value", "named"), [(float("nan"), "a NaN"), (float("inf"), "an infin")])
def test_a_bad_action_is_named(id, value, named):
    env = mbrl.make_vec(id, num_envs=3)
    env.reset(0)
    env.step(torch.zeros(3, env.action.dim))
    action = torch.zeros(3, env.action.dim)
    action[2, 0] = value
    with pytest.raises(EnvironmentFault, match=f"environment 2, step 2: {named}.* in the action"):
        env.step(action)


def test_a_simulation_that_blows_up_is_named():
    env = mbrl.make_vec("Hopper-v5", num_envs=3)
    env.reset(0)
    env.simulation._data[1].qvel[:] = 1e200
    with pytest.raises(EnvironmentFault, match="environment 1, step 1: .* in the observation"):
        env.step(torch.zeros(3, 3))


def test_a_hanging_simulation_is_named(monkeypatch):
    import mujoco

    env = mbrl.make_vec("InvertedPendulum-v5", num_envs=4, num_threads=2, time_limit=0.3)
    env.reset(0)
    env.step(torch.zeros(4, 1))
    step, stuck = mujoco.mj_step, env.simulation._data[2]

    def slow(model, data, count):
        if data is stuck:
            time.sleep(30)
        step(model, data, count)

    monkeypatch.setattr(mujoco, "mj_step", slow)
    with pytest.raises(EnvironmentFault, match=r"environment 2, step 2: no answer within 0.3 s"):
        env.step(torch.zeros(4, 1))


def test_actions_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"should be \(2, 3\), got \(3, 2\)"):
        mbrl.make_vec("Hopper-v5", num_envs=2).step(torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (spaces.MultiDiscrete([2, 2]), None),
        (spaces.Box(-np.inf, np.inf, (2,)), None),
        (spaces.Box(-1, 1, (2, 2)), None),
        (spaces.Dict({"a": spaces.Discrete(2)}), None),
        (None, spaces.Discrete(4)),
        (None, spaces.Dict({"a": spaces.Box(0, 1)})),
        (None, spaces.Box(0, 255, (8, 8, 3), np.uint8)),
    ],
)
def test_unsupported_spaces_are_refused_in_one_line(space, obs):
    with pytest.raises(
        BadInput, match=r"BrokenForTests-v0: \w+ space .* is not supported"
    ) as caught:
        GymnasiumVecEnv("BrokenForTests-v0", kwargs={"space": space, "obs": obs})
    assert "\n" not in str(caught.value)


def test_unknown_ids_and_keywords_name_what_would_be_right():
    for id in ("Hoper-v5", "mbrl/Hoper-v5"):
        with pytest.raises(BadInput, match="did you mean Hopper-v5"):
            mbrl.make_vec(id)
    with pytest.raises(BadInput, match="did you mean Pusher-v5"):
        GymnasiumVecEnv("Pushr-v5")
    with pytest.raises(BadInput, match="backend='warp9': should be one of threads, gymnasium"):
        mbrl.make_vec("Hopper-v5", backend="warp9")
    with pytest.raises(BadInput, match="unexpected keyword"):
        GymnasiumVecEnv("Pusher-v5", kwargs={"gravity_of_mars": 3.7})


def test_the_pool_runs_all_jobs_and_hands_on_what_they_raise():
    pool, done = DaemonPool(3), []
    for _ in range(20):
        pool.run([lambda i=i: done.append(i) for i in range(7)])
    assert sorted(done) == sorted(list(range(7)) * 20)

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        pool.run([lambda: None, fail, lambda: None])
    with pytest.raises(Hang) as caught:
        pool.run([lambda: None, lambda: time.sleep(5)], time_limit=0.2)
    assert caught.value.jobs == [1]
