"""A model as SB3's VecEnv."""

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from mbrl.errors import BadInput
from mbrl.imagination import SB3ModelEnv
from tests.imagination.worlds import PUSHES, Pushed, world
from tests.toys import ACTION, ToyModel


def test_sb3s_ppo_learns_inside_the_model():
    for model, action in ((ToyModel(), ACTION), (Pushed(), PUSHES)):
        env = SB3ModelEnv(world(model, action, num_envs=16, max_episode_steps=20))
        ppo = PPO("MlpPolicy", env, n_steps=64, learning_rate=1e-3, gamma=0.9, seed=0)
        before, _ = evaluate_policy(ppo, env, n_eval_episodes=64)
        ppo.learn(16 * 64 * 6)
        after, _ = evaluate_policy(ppo, env, n_eval_episodes=64)
        assert after > before / 2 > before  # less than half of the cost is left


def test_sb3s_wrappers_take_it_and_what_does_not_fit_is_refused():
    env = VecNormalize(VecMonitor(SB3ModelEnv(world(num_envs=3, max_episode_steps=4))))
    env.seed(3)
    env.reset()
    for _ in range(4):
        infos = env.step(np.zeros((3, 1), np.float32))[-1]
    assert [info["episode"]["l"] for info in infos] == [4] * 3
    inner = env.unwrapped
    for wrong in (np.zeros(3), np.zeros((2, 1))):
        with pytest.raises(BadInput, match=r"action: shape should be \(3, 1\)"):
            inner.step(wrong)
    inner.set_options({"gravity": 3})
    with pytest.raises(BadInput, match="options: gravity: not an option"):
        inner.reset()
    env.close()
    env.close()
