"""Closed-form environments: the base against equations by hand, and a new one in one file."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mbrl.envs import ClosedFormSimulation, ClosedFormTask, closed_form, task_outcome, tasks
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import SimulatesFromState
from mbrl.types import Task

OWN = Path(__file__).parents[2] / "examples/own"


@pytest.fixture
def cart(monkeypatch):
    monkeypatch.syspath_prepend(str(OWN))
    yield importlib.import_module("cart")
    sys.modules.pop("cart", None)


def test_a_new_environment_follows_its_equation(cart):
    assert len((OWN / "cart.py").read_text().splitlines()) <= 60
    env = closed_form(cart.Cart(mass=2.0), num_envs=2, seed=4, dtype=torch.float64)
    obs = env.reset(4)
    for i in range(2):  # in gymnasium's order: one generator for each environment
        draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence(4 + i)))
        assert obs[i].tolist() == draws.uniform(-1, 1, 2).tolist()
    env.simulation.set_state(np.array([[0.5, 1.0], [1.95, 1.0]]))
    step = env.step(torch.tensor([[1.0], [-7.0]]))
    speed = torch.tensor([1.05, 0.95], dtype=torch.float64)  # a force of 7 is clipped to 1
    expected = torch.stack([torch.tensor([0.5, 1.95], dtype=torch.float64) + 0.1 * speed, speed], 1)
    torch.testing.assert_close(step.next_obs, expected)
    torch.testing.assert_close(step.reward, -expected.square().sum(1))
    assert step.terminated.tolist() == [False, True] and not step.truncated.any()
    assert step.obs[0].equal(step.next_obs[0]) and not step.obs[1].equal(step.next_obs[1])


def test_a_new_environment_is_trained_in_from_the_command_line(tmp_path):
    run = tmp_path / "run"
    arguments = ["agent=random", "env=cart", "env.task.mass=3", "total_steps=60", f"run_dir={run}"]
    done = subprocess.run(
        [sys.executable, "-m", "mbrl", "train", "--config-dir", ".", *arguments],
        cwd=OWN,
        env=os.environ | {"PYTHONPATH": f"{OWN.parents[1]}{os.pathsep}{OWN}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["env"]["task"]["mass"] == 3


def test_wrong_values_are_refused_by_name(cart):
    with pytest.raises(BadInput, match=r"mass=0: should be above 0"):
        cart.Cart(mass=0)
    with pytest.raises(BadInput, match=r"num_envs=0: should be at least 1"):
        closed_form(cart.Cart(), num_envs=0)
    with pytest.raises(BadInput, match=r"max_torque=2.5: should be above 0 and at most 2"):
        tasks.Pendulum(max_torque=2.5)
    with pytest.raises(BadInput, match=r"target=99.0: should be at least -40"):
        tasks.Refrigerator(target=99.0)


TASKS = [
    tasks.Pendulum(),
    tasks.Pendulum(sparse=True),
    tasks.PiecewiseAffine(),
    tasks.Refrigerator(),
    tasks.KuramotoSivashinsky(),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_sequences_are_what_stepping_gives_and_leave_the_environments_alone(task):
    env = closed_form(task, num_envs=3, dtype=torch.float64)
    assert isinstance(env, SimulatesFromState)
    env.reset(1)
    actions = torch.stack([env.action.sample(3, generator=draws(t)) for t in range(6)], 1)
    before = env.env_state()
    prediction, last = env.simulate(before, actions, with_state=True)
    assert env.env_state().equal(before) and prediction.valid.all()
    for t in range(6):
        step = env.step(actions[:, t])
        assert prediction.next_obs[:, t].equal(step.next_obs)
        assert prediction.reward[:, t].equal(step.reward)
        assert prediction.terminated[:, t].equal(step.terminated)
    assert last.equal(env.env_state())
    assert env.simulate(before, actions)[1] is None


def draws(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_no_tensor_shares_memory_with_the_state(task):
    env = closed_form(task, num_envs=2, dtype=torch.float64)
    obs = env.reset(1)
    state = env.env_state().clone()
    obs.fill_(99)
    assert env.env_state().equal(state)
    step = env.step(env.action.sample(2, generator=draws(0)))
    state = env.env_state().clone()
    step.next_obs.fill_(99)
    assert env.env_state().equal(state)


class Doubling(ClosedFormTask):
    """State that doubles and blows up."""

    state_dim = obs_dim = 1
    low, high = np.array([-1.0], np.float32), np.array([1.0], np.float32)
    max_episode_steps = 5
    task = Task(reward=lambda obs, action, next_obs: next_obs[:, 0])

    def start(self, generators):
        return np.ones((len(generators), 1))

    def observe(self, state):
        return state

    def step(self, state, action):
        return 2 * state

    def outcome(self, state, action, next_state, next_obs):
        return task_outcome(self.task, state, action, next_obs)


@pytest.mark.filterwarnings("ignore:overflow")
def test_what_blows_up_is_invalid_from_there_on_and_named_when_stepped():
    env = closed_form(Doubling(), num_envs=2, dtype=torch.float64)
    env.reset(0)
    state = torch.tensor([[1.0], [1e308]], dtype=torch.float64)
    prediction, _ = env.simulate(state, torch.zeros(2, 3, 1))
    assert prediction.valid.tolist() == [[True] * 3, [False] * 3]
    assert prediction.next_obs[0, :, 0].tolist() == [2, 4, 8]
    env.simulation.set_state(state.numpy())
    with pytest.raises(EnvironmentFault, match="environment 1, step 1: an infinity in the obs"):
        env.step(torch.zeros(2, 1))


class Spike(Doubling):
    """Unlike its base, shows NaN at one state, and numbers again after it."""

    def observe(self, state):
        return np.where(state == 4, np.nan, state)


def test_what_was_invalid_once_stays_so():
    env = closed_form(Spike(), num_envs=1, dtype=torch.float64)
    env.reset(0)
    prediction, _ = env.simulate(env.env_state(), torch.zeros(1, 4, 1))
    assert prediction.next_obs[0, :, 0].isnan().tolist() == [False, True, False, False]
    assert prediction.valid.tolist() == [[True, False, False, False]]


def test_a_task_without_termination_goes_on_until_its_limit():
    env = closed_form(Doubling(), num_envs=1)
    env.reset(0)
    flags = [env.step(torch.zeros(1, 1)) for _ in range(6)]
    assert not any(step.terminated.item() for step in flags)
    assert [step.truncated.item() for step in flags] == [False] * 4 + [True, False]


@pytest.mark.parametrize("name", ["Pendulum", "PiecewiseAffine", "KuramotoSivashinsky"])
def test_former_simulations_still_work_with_a_warning(name):
    with pytest.warns(DeprecationWarning, match=f"{name}Simulation is now"):
        make = getattr(tasks, f"{name}Simulation")
    simulation = make(num_envs=2)
    assert isinstance(simulation, ClosedFormSimulation) and simulation.num_envs == 2


class Halved(ClosedFormTask):
    """State that halves; one of its functions may do something else than it should."""

    state_dim, obs_dim, max_episode_steps, task = 2, 2, 50, Task()
    low, high = np.array([-1.0]), np.array([1.0])

    def __init__(self, wrong: str = "", change=None):
        self.wrong, self.change = wrong, change

    def _result(self, name, value):
        return self.change(value) if name == self.wrong else value

    def start(self, generators):
        return self._result("start", np.stack([g.uniform(0.5, 1, 2) for g in generators]))

    def observe(self, state):
        return self._result("observe", state)

    def step(self, state, action):
        return self._result("step", state / 2)

    def outcome(self, state, action, next_state, next_obs):
        return self._result("outcome", (state.sum(1), state[:, 0] < 0))


def blow_up(value):
    """Raise where the second row is part of the batch."""
    rows = value[0] if isinstance(value, tuple) else value
    if (np.abs(rows).reshape(len(rows), -1).sum(1) < 0.01).any():
        raise ZeroDivisionError("division by zero")
    return value


@pytest.mark.parametrize("name", ["observe", "step", "outcome"])
def test_an_exception_in_a_task_names_environment_and_step(name):
    env = closed_form(Halved(name, blow_up), num_envs=3)
    env.reset(0)
    env.step(torch.zeros(3, 1))
    state = np.ones((3, 2))
    state[1] = 0.001
    env.simulation.set_state(state)
    message = rf"environment 1, step 2: {name}\(\) raised ZeroDivisionError: division by zero"
    with pytest.raises(EnvironmentFault, match=message):
        env.step(torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("start", lambda x: x[:, :1], r"start\(\) returned is float64 of shape \(3, 1\)"),
        ("observe", lambda x: x.T, r"the observation is float64 of shape \(2, 3\)"),
        ("step", lambda x: x[0], r"step\(\) returned is float64 of shape \(2,\)"),
        ("outcome", lambda x: (x[0][:, None], x[1]), r"the reward is .* shape \(3, 1\), not"),
        (
            "outcome",
            lambda x: (x[0], x[1] * 1),
            r"terminated is int64 .*, not bool of shape \(3,\)",
        ),
    ],
)
def test_what_a_task_returns_is_checked(name, change, message):
    env = closed_form(Halved(name, change), num_envs=3)
    with pytest.raises(EnvironmentFault, match=message):
        env.reset(0)
        env.step(torch.zeros(3, 1))


def test_bounds_that_are_infinite_or_the_wrong_way_are_refused():
    for low, high in (([-np.inf], [1.0]), ([1.0], [-1.0]), ([0.0, 0.0], [1.0])):
        task = Halved()
        task.low, task.high = np.array(low), np.array(high)
        with pytest.raises(BadInput, match="low"):
            closed_form(task)
    assert closed_form(Halved()).action.low.dtype == torch.float32


def test_a_step_before_the_first_reset_is_refused():
    with pytest.raises(BadInput, match=r"call reset\(\) first"):
        closed_form(Halved()).step(torch.zeros(1, 1))
