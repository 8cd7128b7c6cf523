"""A model as gymnasium's Env and VectorEnv: the checkers, seeds, wrappers, SB3."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode
from stable_baselines3 import SAC
from stable_baselines3.common.env_checker import check_env as sb3_check

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.errors import BadInput
from mbrl.imagination import ModelEnv, ModelVectorEnv, SB3ModelEnv
from tests.imagination.worlds import PUSHES, Bounded, Pushed, world
from tests.toys import ACTION, TASK, ToyEnv, collect, generator


@pytest.fixture(scope="module")
def ensemble():
    model = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), hidden=16, num_layers=2,
        training=EnsembleTraining(min_updates=100, max_updates=200),
    )  # fmt: skip
    model.fit(collect(ToyEnv(4), 100).all(), generator=generator())
    return model


@pytest.mark.parametrize("case", ["continuous", "discrete", "bounded", "mean", "ensemble"])
@pytest.mark.parametrize("check", [gymnasium_check, sb3_check])
def test_the_checkers_pass(check, case, ensemble):
    options = {"max_episode_steps": 20}
    made = {
        "continuous": lambda: world(**options),
        "discrete": lambda: world(Pushed(), PUSHES, **options),
        "bounded": lambda: world(bounds=(-torch.ones(2), torch.ones(2)), **options),
        "mean": lambda: world(stochastic=False, **options),
        "ensemble": lambda: world(ensemble, starts=collect(ToyEnv(4), 50), **options),
    }[case]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in ("infinity", "spec", "symmetric and normalized"):
            warnings.filterwarnings("ignore", message=f".*{known}")
        check(ModelEnv(made))


def test_faces_show_the_same_episodes():
    cores = [world(num_envs=n, max_episode_steps=7) for n in (3, 3, 3, 1)]
    vector = ModelVectorEnv(cores[1], autoreset_mode="SameStep")
    sb3 = SB3ModelEnv(cores[2])
    obs = cores[0].reset(11)
    np.testing.assert_array_equal(obs, vector.reset(seed=11)[0])
    sb3.seed(11)
    np.testing.assert_array_equal(obs, sb3.reset())
    draws, ended = generator(1), 0
    for _ in range(30):
        action = ACTION.sample(3, generator=draws)
        step = cores[0].step(action)
        done = (step.terminated | step.truncated).numpy()
        seen, reward, terminated, truncated, info = vector.step(action.numpy())
        np.testing.assert_array_equal(seen, step.obs)
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(terminated, step.terminated)
        np.testing.assert_array_equal(truncated, step.truncated)
        seen, reward, over, infos = sb3.step(action.numpy())
        np.testing.assert_array_equal(seen, step.obs)
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(over, done)
        for i in np.flatnonzero(done):
            np.testing.assert_array_equal(info["final_obs"][i], step.next_obs[i])
            np.testing.assert_array_equal(infos[i]["terminal_observation"], step.next_obs[i])
            assert infos[i]["TimeLimit.truncated"] == bool(step.truncated[i])
            ended += 1
    assert ended >= 12


def test_seeds_repeat_and_nothing_else_is_drawn_from():
    torch.manual_seed(0)
    env = ModelEnv(world(max_episode_steps=5))

    def episode(seed):
        rows = [env.reset(seed=seed)[0]]
        for _ in range(12):
            obs, _, terminated, truncated, _ = env.step(np.array([0.5], dtype=np.float32))
            rows.append(obs if not (terminated or truncated) else env.reset()[0])
        return np.array(rows)

    first = episode(3)
    np.testing.assert_array_equal(first, episode(3))
    assert not np.array_equal(first, episode(4))
    expected = torch.rand(1, generator=generator(0))
    assert torch.rand(1).equal(expected)  # the global generator was not touched


def test_sb3s_sac_takes_the_single_face():
    sac = SAC("MlpPolicy", ModelEnv(world(max_episode_steps=20)), learning_starts=10, seed=0)
    sac.learn(30)
    assert sac.num_timesteps == 30


def test_gymnasium_wrappers_take_the_vector_face():
    wrappers = gymnasium.wrappers.vector
    env = wrappers.NormalizeObservation(ModelVectorEnv(world(num_envs=3, max_episode_steps=5)))
    env = wrappers.RecordEpisodeStatistics(wrappers.NormalizeReward(env))
    env.reset(seed=0)
    for _ in range(5):
        info = env.step(env.action_space.sample())[-1]
    assert (info["episode"]["l"] == 5).all()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_follow_each_other_as_the_mode_says(mode):
    env = ModelVectorEnv(world(Bounded(), num_envs=4, max_episode_steps=6), autoreset_mode=mode)
    assert env.metadata["autoreset_mode"] is mode
    obs, ended, ends = env.reset(seed=2)[0], np.zeros(4, bool), 0
    for _ in range(40):
        if mode is AutoresetMode.DISABLED and ended.any():
            with pytest.raises(BadInput, match="have ended; call reset"):
                env.step(np.zeros((4, 1), np.float32))
            first, _ = env.reset(options={"reset_mask": ended})
            np.testing.assert_array_equal(first[~ended], obs[~ended])
            assert (np.abs(first[ended]) <= 1).all()
        obs, reward, *flags, info = env.step(np.zeros((4, 1), np.float32))
        if mode is AutoresetMode.NEXT_STEP:
            assert (reward[ended] == 0).all() and not (flags[0] | flags[1])[ended].any()
        ended = flags[0] | flags[1]
        ends += ended.sum()
        if mode is AutoresetMode.SAME_STEP:
            assert ("final_obs" in info) == ended.any()
            for i in np.flatnonzero(ended):
                assert not np.array_equal(info["final_obs"][i], obs[i])
    assert ends > 20


def test_seeds_are_one_for_all_or_one_for_each():
    env = ModelVectorEnv(world(num_envs=2))

    def start(seed):
        return env.reset(seed=seed)[0].tolist()

    assert start(3) == start([3, 4]) == start(np.array([3, 4])) == start((3, 4))
    assert start([3, 7]) == start([3, 7])
    assert start([3, 7]) != start([3, 8]) and start([3, 7]) != start(3)
    assert start([None, None]) != start(None)
    wrong = {
        "-1": "at least 0",
        "[1]": "there should be num_envs=2",
        "[1, None]": "every environment",
    }
    for seed, message in wrong.items():
        with pytest.raises(BadInput, match=message):
            env.reset(seed=eval(seed))


@pytest.mark.parametrize(
    "made", [lambda: ModelVectorEnv(world(num_envs=2)), lambda: ModelEnv(world())]
)
def test_what_does_not_fit_is_refused_by_name(made):
    env = made()
    right = env.action_space.sample()
    with pytest.raises(ResetNeeded, match="before calling env.reset"):
        env.step(right)
    for options in ({"x_init": 1.0}, {"low": 0}):
        with pytest.raises(BadInput, match=f"options: {next(iter(options))}: not an option"):
            env.reset(options=options)
    env.reset(seed=0, options={})
    for action in (right[..., None], right[:0], float(right.flat[0])):
        with pytest.raises(BadInput, match=r"action: shape .* should be \("):
            env.step(action)
    with pytest.raises(BadInput, match="should be finite"):
        env.step(right * np.nan)
    env.step(right.astype(np.float64))
    env.close()
    env.close()


def test_a_mask_that_is_none_is_refused():
    env = ModelVectorEnv(world(num_envs=2))
    for mask, message in (
        ([True, False], "is list"),
        (np.ones(2), "float64 of shape"),
        (np.ones(3, bool), "of bool of shape"),
        (np.zeros(2, bool), "True nowhere"),
    ):
        with pytest.raises(BadInput, match=f"reset_mask.* {message}"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(
        BadInput, match="autoreset_mode='Never': should be one of NextStep, SameStep"
    ):
        ModelVectorEnv(world(), autoreset_mode="Never")


def test_attributes_are_those_of_all():
    env = ModelVectorEnv(world(num_envs=2))
    assert env.get_attr("render_mode") == env.call("render_mode") == (None, None)
    with pytest.raises(BadInput, match=r"no reset\(\) of their own"):
        env.call("reset")
    with pytest.raises(BadInput, match="gravity cannot be set"):
        env.set_attr("gravity", 3)
