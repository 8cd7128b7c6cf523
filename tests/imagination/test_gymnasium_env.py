"""A model as gymnasium's Env and VectorEnv: the checkers, seeds, wrappers, SB3."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3 import SAC
from stable_baselines3.common.env_checker import check_env as sb3_check

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.imagination import ModelEnv, ModelVectorEnv, SB3ModelEnv
from tests.imagination.worlds import PUSHES, Pushed, world
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
    vector, sb3 = ModelVectorEnv(cores[1]), SB3ModelEnv(cores[2])
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
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        ModelVectorEnv(world(num_envs=3, max_episode_steps=5))
    )
    env.reset(seed=0)
    for _ in range(5):
        info = env.step(env.action_space.sample())[-1]
    assert (info["episode"]["l"] == 5).all()
