"""MPC: holds, warm starts and memories of each environment, evaluation apart; presets."""

import json

import pytest
import torch

from mbrl.agents import MPC
from mbrl.cli import main
from mbrl.config import build, compose
from mbrl.dynamics import Simulator
from mbrl.errors import BadInput
from mbrl.roles import Plan, Planner, needed_env_state
from mbrl.types import Transitions
from tests.toys import (
    ACTION,
    ToyDynamics,
    ToyEnv,
    ToyPlanner,
    ToySelector,
    collect,
    generator,
)


class Counting(Planner):
    """Return, as action and warm start, how many plans each environment has had."""

    num_particles = 1
    horizon = 1

    def __init__(self, action_hold: int = 1):
        self.action_hold = action_hold
        self.calls: list[bool] = []  # whether each call came with a plan to start from

    def start(self, num_envs):
        return torch.zeros(num_envs, 1)

    def plan(self, state, model, *, generator, previous=None, deadline=None):
        self.calls.append(previous is not None)
        before = self.start(state.shape[0]) if previous is None else previous.warm_start
        after = before + 1
        return Plan(after[:, None] / 100, after[:, 0], after, {})


def agent(planner, **settings):
    settings = {"learning_starts": 1, "retrain_interval": 0, **settings}
    found = MPC(
        action=ACTION, dynamics=ToyDynamics(), planner=planner, generator=generator(5), **settings
    )
    found._num_transitions = settings["learning_starts"]
    return found


def counts(action):
    return (100 * action).round().flatten().int().tolist()


def test_each_action_is_held_and_plans_follow_each_other():
    planner = Counting(action_hold=3)
    mine, obs = agent(planner), torch.zeros(2, 2)
    seen = [counts(mine.act(obs, explore=True)) for _ in range(7)]
    assert seen == [[1, 1]] * 3 + [[2, 2]] * 3 + [[3, 3]]
    assert planner.calls == [False, True, True]


def test_an_environment_that_ended_begins_anew_and_the_others_go_on():
    planner = Counting(action_hold=2)
    mine, obs = agent(planner), torch.zeros(2, 2)
    for _ in range(3):
        mine.act(obs, explore=True)  # both in the first half of their second plan
    mine.reset(torch.tensor([True, False]))
    planner.calls.clear()
    assert counts(mine.act(obs, explore=True)) == [1, 2]
    assert planner.calls == [False]  # planned from nothing, and alone
    # the second is due while the first still holds: the first keeps its memory
    assert counts(mine.act(obs, explore=True)) == [1, 3]
    assert counts(mine.act(obs, explore=True)) == [2, 3]
    mine.reset()
    assert counts(mine.act(obs, explore=True)) == [1, 1]


def test_the_plans_of_a_step_share_its_deadline(monkeypatch):
    now, given = [0.0], []
    monkeypatch.setattr("mbrl.agents.mpc.time.monotonic", lambda: now[0])

    class Slow(Counting):
        def plan(self, state, model, *, generator, previous=None, deadline=None):
            given.append(deadline)
            now[0] += 0.3
            return super().plan(state, model, generator=generator, previous=previous)

    mine, obs = agent(Slow(), deadline=0.4), torch.zeros(2, 2)
    mine.act(obs, explore=True)
    mine.reset(torch.tensor([True, False]))  # so that there are two groups
    mine.act(obs, explore=True)
    mine.reset(torch.tensor([True, False]))
    assert given == pytest.approx([0.4, 0.4, 0.1])
    unhurried = agent(Slow())
    unhurried.act(obs, explore=True)
    assert given[-1] is None
    with pytest.raises(BadInput, match="deadline=0.0: should be above 0"):
        agent(Slow(), deadline=0.0)


def test_random_actions_before_the_first_fit_are_held_too():
    mine, obs = agent(Counting(action_hold=3), learning_starts=100), torch.zeros(4, 2)
    mine._num_transitions = 0
    drawn = [mine.act(obs, explore=True) for _ in range(6)]
    assert drawn[0].equal(drawn[2]) and drawn[3].equal(drawn[5])
    assert not drawn[2].equal(drawn[3])
    assert len(drawn[0].unique()) == 4


def test_a_warm_up_acts_before_the_first_fit_with_a_hold_of_its_own():
    class Far:
        def select(self, obs, *, generator, deterministic=False):
            return 3 * torch.randn(obs.shape[0], 1, generator=generator)

    mine = agent(Counting(action_hold=3), learning_starts=100, warmup=Far(), warmup_hold=2)
    mine._num_transitions, obs = 0, torch.zeros(40, 2)
    drawn = [mine.act(obs, explore=True) for _ in range(4)]
    assert drawn[0].equal(drawn[1]) and drawn[2].equal(drawn[3]) and not drawn[1].equal(drawn[2])
    assert drawn[0].abs().max() == 1  # within the limits
    mine._num_transitions = 100
    assert counts(mine.act(obs, explore=True)) == [1] * 40  # then it plans


def test_evaluation_has_a_memory_of_its_own_and_repeats():
    mine, obs = agent(Counting()), torch.zeros(1, 2)
    mine.act(obs, explore=True)
    for _ in range(2):
        mine.reset(explore=False)
        assert [counts(mine.act(obs, explore=False)) for _ in range(2)] == [[1], [2]]
    assert counts(mine.act(obs, explore=True)) == [2]


def test_the_model_is_fitted_at_once_and_then_at_each_interval():
    mine = agent(Counting(), learning_starts=20, retrain_interval=30)
    fitted = []
    for steps in (10, 20, 40, 49, 50, 80):
        fitted.append(bool(mine.update(collect(ToyEnv(1), steps))))
    assert fitted == [False, True, False, False, True, True]


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


def score(env, seed, tmp_path, *settings):
    path = tmp_path / f"{env}-{seed}"
    arguments = ["agent=sindy_mpc", f"env={env}", f"seed={seed}", f"run_dir={path}", *settings]
    assert main(["train", *arguments]) == 0
    summary = json.loads((path / "summary.json").read_text())
    return summary["step"], summary["eval/mean_reward"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twenty_transitions_are_enough_for_the_pendulum(seed, tmp_path):
    step, reward = score("pendulum", seed, tmp_path)
    assert step == 20 and reward >= -170


@pytest.mark.slow
def test_nine_hundred_transitions_swing_the_pole_up(tmp_path):
    step, reward = score("cartpole_swingup", 0, tmp_path, "eval_episodes=2")
    assert step <= 1000 and reward >= 650


def test_the_simulators_state_is_read_only_for_a_model_that_is_the_simulator():
    class Silent(ToyEnv):
        def env_state(self):
            raise AssertionError("reading it costs time")

    learned = agent(Counting())
    assert needed_env_state(learned, Silent()) is None
    env = ToyEnv(2)
    env.reset(0)
    true = MPC(
        action=ACTION, dynamics=Simulator(env=env), planner=Counting(), generator=generator()
    )
    state = needed_env_state(true, env)
    assert state is not None and state.equal(env.env_state())
    true.act(torch.zeros(2, 2), explore=True, env_state=state)


def test_another_number_of_environments_starts_new_episodes():
    mine = agent(Counting())
    mine.act(torch.zeros(3, 2), explore=False)
    assert counts(mine.act(torch.zeros(5, 2), explore=False)) == [1] * 5


def test_plans_of_another_shape_begin_anew_and_actions_of_another_are_refused():
    mine, obs = agent(Counting(action_hold=2)), torch.zeros(2, 2)
    for _ in range(3):
        mine.act(obs, explore=True)
    state = mine.state_dict()
    same, other = agent(Counting(action_hold=2)), agent(Counting(action_hold=2))
    other.planner.start = lambda num_envs: torch.zeros(num_envs, 4)
    for found in (same, other):
        found.load_state_dict(state)
        assert counts(found.act(obs, explore=True)) == [2, 2]  # still held
    assert counts(same.act(obs, explore=True)) == [3, 3]
    other._plan = lambda obs, episodes, due, *_: (
        episodes._fresh[:, None] / 100 + 0 * episodes._memory[:, :1]
    )
    assert counts(other.act(obs, explore=True)) == [1, 1]  # fresh
    state["training"]["action"] = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"held actions \(2, 3\) do not fit \(E, 1\)"):
        same.load_state_dict(state)


def test_a_model_that_refuses_control_leaves_the_actions_to_the_warmup(caplog):
    dynamics = ToyDynamics()
    dynamics.refusal = lambda: "worse than no change"
    agent = MPC(
        action=ACTION, dynamics=dynamics, planner=ToyPlanner(), generator=generator(1),
        learning_starts=20, retrain_interval=20, warmup=ToySelector(),
    )  # fmt: skip
    data = collect(ToyEnv(), 40)
    agent.update(data)
    assert "warm-up: worse than no change" in caplog.text
    obs = torch.tensor([[0.3, -0.1]])
    assert agent.act(obs, explore=False).item() == pytest.approx(-0.2)
