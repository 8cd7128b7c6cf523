"""Dyna: MBPO's schedule and updates; COPlanner with one candidate is MBPO, bit for bit."""

import pytest
import torch
import yaml

from mbrl.agents import Dyna
from mbrl.config import build, compose
from mbrl.config.check import check_saved
from mbrl.errors import BadInput
from mbrl.planners import UPMPC
from mbrl.training.loop import train
from mbrl.training.run_folder import RunFolder
from tests.contracts.test_agent import Record, flat
from tests.learners.test_in_model import in_model
from tests.toys import ACTION, ToyDynamics, ToyEnv, ToyLearner, collect, generator

SMALL = [
    "experiment=none", "total_steps=300", "eval_every=150", "eval_episodes=2",
    "agent.learning_starts=60", "agent.retrain_interval=60", "agent.num_rollouts=400",
    "agent.updates_per_step=2", "agent.rollout_length=[0,200,1,3]", "env.num_envs=2",
    "learner.hidden=16", "dynamics.hidden=16", "dynamics.num_layers=2",
    "dynamics.training.min_updates=40", "dynamics.training.max_updates=80",
]  # fmt: skip


ONE = [f"agent.{name}_actions.num_candidates=1" for name in ("rollout", "exploration")]


def run(path, *arguments, stop_at=None):
    """Train; give everything the run has learned and seen, and its rows of metrics."""
    config = compose([*SMALL, *arguments]).config
    parts, rows = build(config), Record()
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, {})
    asked = []

    def stop():
        asked.append(1)
        return stop_at is not None and 2 * len(asked) > stop_at

    summary = train(
        parts.env, parts.agent, buffer=parts.buffer, run=folder, logger=rows,
        make_eval_env=parts.make_eval_env,
        seed=config["seed"], total_steps=300, eval_every=150, eval_episodes=2, save_every=100,
        log_every=60, stop=stop,
    )  # fmt: skip
    state = flat({"agent": parts.agent.state_dict(), "buffer": parts.buffer.state_dict()})
    return state, summary["evaluations"], rows.rows


def same(a, b):
    return a.equal(b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("env", ["pendulum", "inverted_pendulum"])
@pytest.mark.parametrize("variant", ["corrected", "paper"])
def test_one_candidate_is_mbpo_bit_for_bit(env, variant, tmp_path):
    """Weights, optimiser, both buffers, generator and evaluations of whole training runs."""
    others = [f"agent.{name}_actions.variant={variant}" for name in ("rollout", "exploration")]
    base, base_scores, _ = run(tmp_path / "mbpo", f"env={env}", "agent=mbpo")
    ours, scores, _ = run(tmp_path / "one", f"env={env}", "agent=coplanner", *ONE, *others)
    own = {key for key in ours if "/selectors/" in key}
    assert len(own) == 4 and ours.keys() - own == base.keys()
    assert {"/buffer/rows", "/agent/imagined/rows", "/agent/generator"} < base.keys()
    assert all(same(ours[key], value) for key, value in base.items())
    assert scores == base_scores


def test_planning_changes_what_is_imagined_and_what_is_done(tmp_path):
    base, *_ = run(tmp_path / "mbpo", "env=pendulum", "agent=mbpo")
    ours, _, rows = run(tmp_path / "ours", "env=pendulum", "agent=coplanner")
    for key in ("/buffer/rows", "/agent/imagined/rows"):
        assert not ours[key].equal(base[key])
    assert ours["/buffer/rows"][:60].equal(base["/buffer/rows"][:60])  # until learning starts
    for which, alpha in (("rollout", -2), ("exploration", 1)):
        last = {k.rpartition("/")[2]: v for k, v in rows[-1].items() if f"planner/{which}/" in k}
        assert last.keys() == {"alpha", "spread_ratio", "flipped", "action_spread"}
        assert last["alpha"] == alpha and 0 < last["flipped"] < 1 and last["spread_ratio"] > 0


@pytest.mark.parametrize("spared", ["rollout", "exploration"])
def test_each_half_can_be_left_out(spared, tmp_path):
    without = f"agent.{spared}_actions=null"
    ours, _, rows = run(tmp_path / "a", "env=pendulum", "agent=coplanner", without)
    planned = {key.split("/")[1] for key in rows[-1] if key.startswith("planner/")}
    assert planned == {"rollout", "exploration"} - {spared}
    assert not any(f"/selectors/{spared}" in key for key in ours)


def test_a_run_broken_off_ends_as_an_unbroken_one(tmp_path):
    options = ["env=pendulum", "agent=coplanner", "agent.exploration_actions.scale_alpha=true",
               "agent.exploration_actions.num_noise_candidates=2", "dynamics.uncertainty=samples",
               "agent.rollout_actions.variant=paper"]  # fmt: skip
    whole, scores, _ = run(tmp_path / "whole", *options)
    run(tmp_path / "broken", *options, stop_at=130)
    resumed, again, _ = run(tmp_path / "broken", *options)
    assert whole.keys() == resumed.keys() and scores == again
    assert all(same(resumed[key], value) for key, value in whole.items())


def refused(*arguments):
    with pytest.raises(BadInput) as caught:
        compose(["agent=coplanner", *arguments])
    return str(caught.value)


def test_what_does_not_fit_is_refused_in_one_sentence():
    assert refused("dynamics=simulator").startswith(
        "agent=coplanner needs uncertainty, which dynamics=simulator does not provide: choose "
        "dynamics=bootstrapped_ensemble or dynamics=ensemble or "
    )
    assert refused("learner=none").startswith("agent=coplanner needs a learner")
    assert "learner=sb3_ppo needs model_env, which agent=coplanner" in refused("learner=sb3_ppo")
    assert "alpha" in refused("agent.rollout_actions.alfa=1")
    refusal = refused("agent.exploration_actions.num_noise_candidates=6")
    assert "num_candidates" in refusal and "at most" in refusal


def test_the_papers_variant_is_one_choice():
    config = compose(["agent=coplanner", "env=hopper", "experiment=coplanner_paper"]).config
    assert config["dynamics"]["uncertainty"] == "samples"
    for name, alpha in (("rollout", -2), ("exploration", 1)):
        node = config["agent"][f"{name}_actions"]
        assert (node["variant"], node["alpha"]) == ("paper", alpha)
        assert (node["num_candidates"], node["horizon"]) == (5, 5)


def test_selectors_are_built_over_the_very_parts_of_the_agent():
    agent = build(compose(["agent=coplanner", *SMALL]).config).agent
    assert isinstance(agent, Dyna)
    for selector in (agent._rollout_actions, agent._exploration_actions):
        assert isinstance(selector, UPMPC)
        assert selector._policy is agent.learner and selector._model is agent.dynamics
    seeds = {s._generator.initial_seed() for s in agent._planning_selectors().values()}
    assert len(seeds | {agent._generator.initial_seed()}) == 3


class CountingLearner(ToyLearner):
    """Record the updates and the data of each call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def improve(self, real, imagined=None, model_env=None, *, num_updates=1):
        self.calls.append((num_updates, len(real), None if imagined is None else len(imagined)))
        return {}


def toy_dyna(**settings):
    return Dyna(
        **{
            "action": ACTION,
            "dynamics": ToyDynamics(),
            "learner": CountingLearner(),
            "generator": generator(),
            "learning_starts": 10,
            "retrain_interval": 10,
            "num_rollouts": 6,
            **settings,
        }
    )


def test_rollouts_grow_linearly_between_two_transitions():
    """MBPO's schedule: 1 step until transition 20, 5 steps from transition 60 on."""
    agent = toy_dyna(rollout_length=(20, 60, 1, 5))
    env = ToyEnv(1)
    lengths = [
        agent.update(collect(env, steps))["model/rollout_length"]
        for steps in (10, 20, 30, 40, 50, 60, 70)
    ]
    assert lengths == [1, 1, 2, 3, 4, 5, 5]


def test_rollouts_can_shrink_too():
    agent = toy_dyna(rollout_length=(0, 20, 5, 1))
    lengths = [agent.update(collect(ToyEnv(1), n))["model/rollout_length"] for n in (10, 20)]
    assert lengths == [3, 1]


def test_the_model_is_refitted_at_each_interval_and_the_policy_updated_at_each_transition():
    agent = toy_dyna(updates_per_step=3, rollout_length=(0, 1, 2, 2))
    refits = []
    for steps in (4, 9, 10, 15, 19, 20, 31):
        refits.append("model/holdout_mse" in agent.update(collect(ToyEnv(1), steps)))
    assert refits == [False, False, True, False, False, True, True]
    # 3 updates for each new transition, on 2 steps of 6 rollouts
    assert agent.learner.calls == [(3, 10, 12), (15, 15, 12), (12, 19, 12), (3, 20, 12),
                                   (33, 31, 12)]  # fmt: skip


def test_actions_are_random_until_learning_starts_and_never_in_evaluation():
    agent, obs = toy_dyna(), torch.randn(200, 2)
    expected = ACTION.sample(200, generator=generator())
    assert agent.act(obs, explore=True).equal(expected)
    agent.learner.gain = torch.tensor([-1.0, -1.0])
    policy = agent.learner.select(obs, generator=generator(), deterministic=True)
    assert agent.act(obs, explore=False).equal(policy)
    agent.update(collect(ToyEnv(1), 10))
    assert (agent.act(obs, explore=True) - policy).abs().max() < 1  # the policy, with its noise


def test_learners_that_act_in_the_model_are_refused():
    with pytest.raises(BadInput, match="choose agent=sindy_rl"):
        toy_dyna(learner=in_model())


def test_an_old_run_of_sindy_rl_is_refused_in_one_line(tmp_path):
    """Its agent was Dyna, whose config has keys that only InModelAgent has now."""
    config = compose(["agent=sindy_rl", "env=pendulum"]).config
    old = {"_target_": "mbrl.agents.Dyna", "learning_starts": 300, "updates_per_refit": 10}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**config, "agent": old}))
    with pytest.raises(BadInput, match="InModelAgent") as caught:
        check_saved({**config, "agent": old}, path)
    assert "\n" not in str(caught.value)
