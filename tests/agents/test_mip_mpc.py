"""MPC on sparse ReLU dynamics: pushing is learned from nothing, and planned with few ReLUs."""

import pytest
import torch

from mbrl.config import build, compose
from mbrl.types import Transitions


@pytest.mark.slow
def test_sixteen_relus_push_a_disc_to_its_goal():
    """As `mbrl train agent=mip_mpc env=push`, with CEM to be quick."""
    config = compose(
        ["agent=mip_mpc", "env=push", "planner=cem", "planner.num_samples=150",
         "planner.num_elites=15", "planner.num_iterations=5", "planner.warm_iterations=3"]
    ).config  # fmt: skip
    parts = build(config)
    env, agent, obs = parts.env, parts.agent, parts.env.reset(0)
    episode = torch.arange(env.num_envs)
    for _ in range(config["total_steps"] // env.num_envs):
        action = agent.act(obs, explore=True)
        step = env.step(action)
        done = step.terminated | step.truncated
        parts.buffer.add(
            Transitions(
                obs, action, step.reward, step.next_obs, step.terminated, step.truncated, episode
            )
        )
        agent.reset(done)
        episode, obs = episode + env.num_envs * done, step.obs
        metrics = agent.update(parts.buffer)
    assert metrics["model/relus"] == 16 and metrics["model/rollout_mse"] < 0.2
    env = parts.make_eval_env(30)
    obs, task = env.reset(7), env.simulation._task
    agent.reset(explore=False)
    for _ in range(task.max_episode_steps):
        step = env.step(agent.act(obs, explore=False))
        obs = step.obs
    assert task.reached(step.next_obs).double().mean() >= 0.8
