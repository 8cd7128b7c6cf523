"""PPO in the environment itself: the weights of plain SB3."""

import gymnasium
import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl.agents import OnPolicy
from mbrl.buffer import ReplayBuffer
from mbrl.envs import GymnasiumVecEnv
from mbrl.learners import SB3PPO
from mbrl.training.loop import train
from mbrl.training.run_folder import RunFolder
from tests.contracts.test_agent import Record
from tests.learners.test_sb3_sac import assert_same
from tests.toys import generator


@pytest.mark.parametrize("id, num_envs", [("CartPole-v1", 2), ("Pendulum-v1", 1)])
def test_a_run_of_ppo_ends_at_the_weights_of_plain_sb3(id, num_envs, tmp_path):
    """Acting, bootstrapping at truncations, advantages, train: bit for bit, from one seed."""
    steps, total = 96, 96 * 5 * num_envs
    theirs = stable_baselines3.PPO(
        "MlpPolicy", DummyVecEnv([lambda: gymnasium.make(id)] * num_envs), seed=5,
        n_steps=steps, batch_size=32, n_epochs=3,
    ).learn(total)  # fmt: skip
    env = GymnasiumVecEnv(id, num_envs=num_envs, seed=5)
    learner = SB3PPO(obs_dim=env.obs_dim, action=env.action, seed=5, batch_size=32, num_epochs=3)
    agent = OnPolicy(
        action=env.action, num_envs=num_envs, learner=learner, generator=generator(),
        num_steps=steps,
    )  # fmt: skip
    buffer = ReplayBuffer(total, env.obs_dim, env.action.dim)
    summary = train(
        env, agent, buffer=buffer, run=RunFolder.create(tmp_path / "run", {}), logger=Record(),
        make_eval_env=lambda n: GymnasiumVecEnv(id, num_envs=n), seed=5, total_steps=total,
        eval_every=150, eval_episodes=1, save_every=10_000,
    )  # fmt: skip
    assert summary["finished"]
    data = buffer.all()
    assert (data.truncated if id == "Pendulum-v1" else data.terminated).sum() > 1
    assert_same(learner.algorithm.policy, theirs.policy)
    obs = buffer.all().obs[:50]
    mine = learner.select(obs, generator=generator(), deterministic=True)
    mine = mine.argmax(1) if env.action.kind == "discrete" else mine
    np.testing.assert_array_equal(mine, theirs.predict(obs.numpy(), deterministic=True)[0])
