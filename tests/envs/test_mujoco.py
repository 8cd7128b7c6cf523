"""MuJoCo in threads: threads change nothing, hangs are named; a new task in one file."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import mbrl
from mbrl.envs import mujoco_batch, tasks
from mbrl.envs.mujoco import threaded_mujoco
from mbrl.errors import BadInput, EnvironmentFault
from tests.envs.compare import compare


def test_two_threads_change_nothing():
    compare("Hopper-v5", seeds=2, steps=100, tolerance=0.0, num_threads=2, num_envs=5)


def test_a_simulation_that_blows_up_is_named():
    env = mbrl.make_vec("Hopper-v5", num_envs=3)
    env.reset(0)
    state = env.simulation.get_state()
    state[1, 1 + env.simulation.model.nq] = 1e200  # the first velocity
    env.simulation.set_state(state)
    with pytest.raises(
        EnvironmentFault, match="environment 1, step 1: MuJoCo found .* number in its"
    ):
        env.step(torch.zeros(3, 3))


OWN = Path(__file__).parents[2] / "examples/own"


@pytest.fixture
def hold(monkeypatch):
    monkeypatch.syspath_prepend(str(OWN))
    yield importlib.import_module("hold")
    sys.modules.pop("hold", None)


def test_a_new_task_is_one_file_and_steps_as_gymnasiums_physics(hold):
    assert len((OWN / "hold.py").read_text().splitlines()) <= 60
    task = hold.Hold(place=0.3)
    env = threaded_mujoco(task, dtype=torch.float64)
    obs = env.reset(2)
    theirs = gymnasium.make("InvertedPendulum-v5").unwrapped
    theirs.reset(seed=0)
    theirs.set_state(obs[0, :2].numpy(), obs[0, 2:].numpy())
    for _ in range(5):
        step, other = env.step(torch.tensor([[0.7]])), theirs.step(np.array([0.7], np.float32))
        np.testing.assert_allclose(step.next_obs[0], other[0], atol=1e-12)
        assert step.reward.item() == pytest.approx(1 - abs(other[0][0] - 0.3))
        assert step.terminated.item() == other[2]


def test_a_new_task_is_trained_in_from_the_command_line(tmp_path):
    run = f"run_dir={tmp_path / 'run'}"
    arguments = ["agent=random", "env=hold", "env.task.place=-0.1", "total_steps=60", run]
    done = subprocess.run(
        [sys.executable, "-m", "mbrl", "train", "--config-dir", ".", *arguments],
        cwd=OWN,
        env=os.environ | {"PYTHONPATH": f"{OWN.parents[1]}{os.pathsep}{OWN}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_simulations_that_do_not_fit_in_memory_are_named(monkeypatch):
    def full(*_, **__):
        raise ValueError("Could not allocate memory")

    monkeypatch.setattr(mujoco_batch, "Batch", full)
    with pytest.raises(BadInput, match="^num_envs=7: needs more memory than there is here"):
        mbrl.make_vec("Hopper-v5", num_envs=7)


def test_wrong_values_are_refused():
    for name, value in (("num_envs", 0), ("num_threads", 0), ("num_threads", 5000)):
        with pytest.raises(BadInput, match=f"{name}={value}: should be at least 1"):
            threaded_mujoco(tasks.Hopper(), **{name: value})
    for task in (tasks.Hopper, "hopper"):
        with pytest.raises(BadInput, match="^task=.*: should be a MujocoTask, such as mbrl.envs.t"):
            threaded_mujoco(task)  # pyright: ignore[reportArgumentType]
