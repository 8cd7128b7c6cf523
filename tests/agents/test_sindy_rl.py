"""The parts of SINDy-RL: learning inside a model, held actions, the way back to the best policy."""

import json

import pytest
import torch

from mbrl.agents import InModelAgent
from mbrl.agents.rollback import Rollback, estimated_return
from mbrl.cli import main
from mbrl.config import build_agent, compose
from mbrl.errors import BadInput
from mbrl.imagination import ImaginedVecEnv
from mbrl.imagination.hold import ActionHold
from mbrl.learners import SAC, InModelLearner
from mbrl.types import Transitions
from tests.toys import ACTION, ToyDynamics, ToyEnv, ToyLearner, ToyModel, collect, generator


def test_actions_are_held_and_decided_anew_where_an_episode_begins():
    hold, wished = ActionHold(3), torch.arange(16.0).view(8, 2, 1)
    done = []
    for t, action in enumerate(wished):
        if t == 4:
            hold.reset(torch.tensor([True, False]))
        done.append(hold(action)[:, 0].tolist())
    assert [row[0] for row in done] == [0, 0, 0, 6, 8, 8, 8, 14]
    assert [row[1] for row in done] == [1, 1, 1, 7, 7, 7, 13, 13]
    assert ActionHold(1)(wished[3]).equal(wished[3])
    other = ActionHold(3)
    other.load_state_dict(hold.state_dict())
    assert other(wished[0]).equal(hold(wished[0]))
    hold.reset()
    assert hold(wished[5]).equal(wished[5])


def acted(rewards, ends=()):
    reward = torch.tensor(rewards)
    ended = torch.zeros(len(reward), dtype=torch.bool)
    ended[list(ends)] = True
    rows = torch.zeros(len(reward), 2)
    episode = torch.zeros(len(reward), dtype=torch.int64)
    return Transitions(rows, rows[:, :1], reward, rows, ended, ~ended & False, episode)


def test_returns_are_estimated_from_transitions_cut_anywhere():
    assert estimated_return(acted([2.0] * 30), 200) == 400  # never ends: the limit
    assert estimated_return(acted([1.0] * 30, [9, 19, 29]), 200) == 10
    assert estimated_return(acted([1.0] * 30, [29]), 20) == 20
    assert estimated_return(acted([1.0] * 30), None) == 30


def test_the_best_policy_comes_back_when_a_later_one_loses_too_much():
    learner = ToyLearner()
    back = Rollback(learner, 0.25, 10)

    def judge(gain, mean):
        learner.gain = torch.tensor([gain, 0.0])
        return back.update(acted([mean] * 5))["train/rolled_back"], learner.gain[0].item()

    assert judge(0.0, -10.0) == (0, 0.0)  # random actions: the scale, no policy
    assert judge(1.0, -6.0) == (0, 1.0)
    assert judge(2.0, -2.0) == (0, 2.0)  # the best: it gained 80 of a return
    assert judge(3.0, -3.9) == (0, 3.0)  # lost 19: within a quarter
    assert judge(4.0, -4.1) == (1, 2.0)
    other = Rollback(learner, 0.25, 10)
    other.load_state_dict(back.state_dict())
    learner.gain = torch.tensor([5.0, 0.0])
    assert other.update(acted([-9.0] * 5))["train/rolled_back"] == 1
    assert learner.gain[0] == 2.0


def in_model(**options):
    sac = SAC(
        obs_dim=2, action=ACTION, generator=generator(1), hidden=16, batch_size=64,
        learning_rate=3e-3, discount=0.9,
    )  # fmt: skip
    return InModelLearner(obs_dim=2, action=ACTION, learner=sac, generator=generator(2), **options)


def test_sac_learns_inside_a_model():
    real = collect(ToyEnv(2), 40)
    learner = in_model(num_model_envs=8, num_steps=100, learning_starts=100)

    def paid():
        world = ImaginedVecEnv(ToyModel(), real, ACTION, num_envs=64, generator=generator(3))
        obs, total = world.reset(0), 0.0
        for _ in range(20):
            step = world.step(learner.select(obs, generator=generator(), deterministic=True))
            obs, total = step.obs, total + step.reward.mean().item()
        return total

    before = paid()
    world = ImaginedVecEnv(
        ToyModel(), real, ACTION, num_envs=8, max_episode_steps=20, generator=generator(4)
    )
    metrics = learner.improve(real, None, world, num_updates=8)
    assert metrics["train/model_reward_mean"] < 0
    assert before < -20 and paid() > -4  # the feedback of the toys' selector earns -3
    with pytest.raises(BadInput, match="agent=sindy_rl has one"):
        learner.improve(real, None, None)
    assert learner.improve(real, None, world, num_updates=0) == {}


def dyna(**options):
    return InModelAgent(
        action=ACTION, dynamics=ToyDynamics(), generator=generator(), learning_starts=20,
        retrain_interval=20, updates_per_refit=1, max_episode_steps=20,
        **{"learner": in_model(num_model_envs=4, num_steps=10, learning_starts=20), **options},
    )  # fmt: skip


def test_the_last_policy_is_judged_and_no_further_one_made():
    buffer, agent = collect(ToyEnv(1), 20), dyna(rollback_tolerance=0.0, total_steps=40)
    assert agent.update(buffer)["train/rolled_back"] == 0
    weights = agent.learner.learner.networks.actor.clone()
    more = collect(ToyEnv(1), 40, seed=1).all()
    buffer = collect(ToyEnv(1), 40)
    buffer.add(Transitions(*(x[:20] for x in more)))
    buffer.num_added = 40
    metrics = agent.update(buffer)
    assert set(metrics) == {"rollout/policy_return", "train/rolled_back"}
    assert agent.learner.learner.networks.actor.equal(weights)


def test_held_actions_need_a_learner_that_acts_in_the_model():
    agent = dyna(action_hold=4)
    obs = torch.randn(8, 3, 2)
    taken = [agent.act(o, explore=False) for o in obs]
    assert all(taken[t].equal(taken[t - t % 4]) for t in range(8))
    assert not taken[4].equal(taken[3])
    agent.reset(explore=False)
    assert not agent.act(obs[5], explore=False).equal(taken[7])
    with pytest.raises(BadInput, match="learner=sac_in_model"):
        dyna(learner=ToyLearner())


def test_it_is_a_configuration_of_the_dyna_agent():
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
