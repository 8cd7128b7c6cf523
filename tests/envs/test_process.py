"""Environments in a worker process: the same numbers, and what ends a process is named."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from mbrl.cli import main
from mbrl.envs import GymnasiumProcess, GymnasiumVecEnv
from mbrl.errors import BadInput
from mbrl.roles import HasGymnasiumSpaces
from mbrl.training.run_folder import RunFolder
from tests.envs.faulty import APART, ID, check, drive, make
from tests.toys import generator


@pytest.mark.parametrize("how", APART)
def test_a_worker_process_survives_what_ends_a_process(how):
    check(how, make(how, kind=GymnasiumProcess))


@pytest.mark.parametrize("how", ["obs NaN", "step raises", "step hangs", "reset raises"])
def test_a_worker_process_names_the_same(how):
    check(how, make(how, kind=GymnasiumProcess))


def test_a_run_outlives_an_environment_that_kills_its_process(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["agent=random", "env=gym_process", f"env.id={ID}", "env.kwargs={how: is killed}"]
    assert (
        main(["train", *arguments, "seed=1", "total_steps=9", "save_every=1", "run_dir=run"]) == 1
    )
    err = capsys.readouterr().err
    assert "environment 0, step 3: ended its process (signal 9)" in err and err.count("\n") == 1
    run = RunFolder.open(tmp_path / "run")
    run.check()
    assert [int(p.name) for p in run.checkpoints()] == [1, 2]  # all but the step that it was in


def test_a_worker_process_ends_with_its_environment():
    env = make("never ends", 1, kind=GymnasiumProcess)
    drive(env, 2)
    assert not env._process.is_alive()
    with pytest.raises(BadInput, match="step: the environments are closed"):
        env.step(torch.zeros(1, 2))


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1"])
def test_the_numbers_are_those_of_the_same_process(id):
    here, apart = GymnasiumVecEnv(id, num_envs=2), GymnasiumProcess(id, num_envs=2)
    assert (here.obs_dim, here.obs_shape, here.first_action) == (
        apart.obs_dim, apart.obs_shape, apart.first_action,
    )  # fmt: skip
    assert isinstance(apart, HasGymnasiumSpaces) and apart.max_episode_steps is not None
    assert here.reset(3).equal(apart.reset(3))
    draws = generator(0)
    for _ in range(60):
        action = here.action.sample(2, generator=draws)
        for a, b in zip(here.step(action), apart.step(action), strict=True):
            assert a.equal(b)
    again = GymnasiumProcess(id, num_envs=2)
    again.load_state_dict(apart.state_dict())
    action = here.action.sample(2, generator=draws)
    for a, b in zip(here.step(action), again.step(action), strict=True):
        assert a.equal(b)
    for env in (here, apart, again):
        env.close()


def test_wrong_values_are_refused_before_a_process_starts():
    for name, value in (("memory_limit", 0), ("time_limit", -1.0), ("num_envs", 0)):
        with pytest.raises(BadInput, match=f"{name}={value}: should be"):
            GymnasiumProcess("CartPole-v1", **{name: value})


def test_closed_environments_are_named():
    env = GymnasiumProcess("CartPole-v1")
    env.close()
    env.close()
    with pytest.raises(BadInput, match="reset: the environments are closed; make new ones"):
        env.reset(0)


def test_a_signal_to_the_group_of_processes_does_not_end_a_worker_at_any_time():
    done, sent = threading.Event(), []

    def send() -> None:
        while not done.wait(0.01):  # from its first moment on
            for child in multiprocessing.active_children():
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    os.kill(child.pid or 0, number)
                    sent.append(number)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        env = GymnasiumProcess("Pendulum-v1")
        assert env.reset(0).shape == (1, 3)
    finally:
        done.set()
        sender.join()
    assert len(sent) > 10
    env.close()


def test_a_worker_that_ignores_signals_does_not_outlive_or_hold_up_its_parent():
    code = (
        "import os; from mbrl.envs import GymnasiumProcess\n"
        "if __name__ == '__main__':\n"
        "    env = GymnasiumProcess('Pendulum-v1'); print(env._process.pid)"
    )
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True).stdout
    with pytest.raises(ProcessLookupError):
        os.kill(int(said), 0)
