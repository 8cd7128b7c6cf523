"""SINDy-RL's agent: held actions, rollback, presets."""

import json

import pytest
import torch

from mbrl.agents import InModelAgent
from mbrl.cli import main
from mbrl.config import build_agent, compose
from mbrl.errors import BadInput
from tests.learners.test_in_model import in_model
from tests.toys import ACTION, ToyDynamics, ToyEnv, ToyLearner, collect, generator


def in_model_agent(**options):
    learner = in_model(num_model_envs=4, num_steps=10, learning_starts=20)
    return InModelAgent(
        action=ACTION, dynamics=ToyDynamics(), generator=generator(),
        retrain_interval=20, updates_per_refit=1, max_episode_steps=20,
        **{"learning_starts": 20, "learner": learner, **options},
    )  # fmt: skip


def test_the_last_policy_is_measured_and_no_further_one_is_made():
    buffer, agent = collect(ToyEnv(1), 20), in_model_agent(rollback_tolerance=0.0, total_steps=40)
    assert agent.update(buffer)["train/rolled_back"] == 0
    weights = agent.learner.learner.networks.actor.clone()
    buffer.add(collect(ToyEnv(1), 20, seed=1).all())
    assert buffer.num_added == 40
    metrics = agent.update(buffer)
    assert set(metrics) == {"rollout/policy_return", "train/rolled_back"}
    assert agent.learner.learner.networks.actor.equal(weights)


def test_actions_are_held_and_the_learner_must_act_in_the_model():
    agent = in_model_agent(action_hold=4)
    obs = torch.randn(8, 3, 2)
    taken = [agent.act(o, explore=False) for o in obs]
    assert all(taken[t].equal(taken[t - t % 4]) for t in range(8))
    assert not taken[4].equal(taken[3])
    agent.reset(explore=False)
    assert not agent.act(obs[5], explore=False).equal(taken[7])
    with pytest.raises(BadInput, match="learner=sac_in_model"):
        in_model_agent(learner=ToyLearner())


def test_an_action_that_is_held_is_held_on_after_a_restart():
    agent, other = (in_model_agent(action_hold=3, learning_starts=100) for _ in range(2))
    obs = torch.randn(3, 2)
    held = agent.act(obs, explore=True)
    other.load_state_dict(agent.state_dict())
    for _ in range(2):
        assert other.act(obs, explore=True).equal(held)
    assert not other.act(obs, explore=True).equal(held)


def test_it_is_a_configuration():
    for env in ("pendulum", "cartpole_swingup"):
        config = compose(["agent=sindy_rl", f"env={env}"]).config
        assert config["agent"]["_target_"] == "mbrl.agents.InModelAgent"
        assert config["choices"]["dynamics"] == "sindy"
    with pytest.raises(BadInput, match="needs model_env"):
        compose(["agent=sac", "learner=sac_in_model", "env=pendulum"])
    config = compose(["agent=sindy_rl", "learner=sb3_ppo", "experiment=none"]).config
    assert type(build_agent(config, ToyEnv(1)).learner).__name__ == "SB3PPO"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "env", "steps", "least"),
    [
        ("sindy_rl", "pendulum", 600, -200),
        ("sindy_rl", "cartpole_swingup", 1600, 700),
        ("sindy_mpc", "kuramoto_sivashinsky", 1600, -100),  # without control -270
    ],
)
def test_the_presets_reach_what_they_are_for(agent, env, steps, least, tmp_path):
    path = tmp_path / "run"
    settings = [f"agent={agent}", f"env={env}", "eval_episodes=4", f"run_dir={path}"]
    assert main(["train", *settings]) == 0
    summary = json.loads((path / "summary.json").read_text())
    assert summary["step"] == steps and summary["eval/mean_reward"] >= least
