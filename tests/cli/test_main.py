"""The command line: exit statuses, one line for what is wrong, interruption and resume."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mbrl
from mbrl.cli import COMMANDS, main
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import Agent
from mbrl.training.run_folder import RunFolder
from tests import toys
from tests.config.parts import write

ROOT = Path(__file__).parents[2]
HERE = __name__


class Signalled(toys.ToyEnv):
    """Send this process a signal in the course of a step."""

    def __init__(
        self, num_envs: int = 1, at: int = 50, number: int = signal.SIGINT, times: int = 1
    ):
        super().__init__(num_envs)
        self.at, self.number, self.times, self.count = at, number, times, 0

    def step(self, action):
        self.count += 1
        if self.count == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return super().step(action)


class Faulty(toys.ToyEnv):
    """Break in step 30."""

    def __init__(self, num_envs: int = 1, refuse: bool = False):
        super().__init__(num_envs)
        if refuse:
            raise BadInput("env.refuse=true: refused when built")
        self.count = 0

    def step(self, action):
        self.count += 1
        if self.count == 30:
            raise EnvironmentFault("a NaN\nin obs", index=0, step=30)
        return super().step(action)


class Gain(Agent):
    """Learn one number, so that an evaluation shows whether it was restored."""

    def __init__(self, *, action, generator: torch.Generator):
        self._action, self._generator = action, generator
        self.gain = torch.zeros(1)
        self.dynamics = toys.ToyModel()

    def act(self, obs, *, explore, env_state=None):
        if explore:
            return self._action.sample(obs.shape[0], generator=self._generator)
        return self._action.clip(self.gain * obs.sum(1, keepdim=True))

    def update(self, buffer):
        self.gain = torch.full((1,), -buffer.num_added / 200)
        return {"train/gain": self.gain.item()}

    def reset(self, done=None, *, explore=True):
        pass

    def state_dict(self):
        return {"gain": self.gain, "generator": self._generator.get_state()}

    def load_state_dict(self, state):
        self.gain = state["gain"]
        self._generator.set_state(state["generator"])


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    return write(
        tmp_path_factory.mktemp("mine"),
        {
            "env/toy": "_target_: tests.toys.ToyEnv\nnum_envs: 1",
            "env/signalled": f"_target_: {HERE}.Signalled\nnum_envs: 1",
            "env/faulty": f"_target_: {HERE}.Faulty\nnum_envs: 1",
            "agent/gain": f"_target_: {HERE}.Gain",
        },
    )


@pytest.fixture
def train(mine, tmp_path, monkeypatch):
    """Run `mbrl train` on the toy environment in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        return main(["train", f"--config-dir={mine}", "env=toy", "agent=gain", *arguments])

    return call


def run_folder() -> Path:
    (found,) = Path("runs").glob("*/*/*")
    return found


# --- bad input: the list of it is in scripts/robustness/bad_input.py, see test_bad_input.py


def test_what_a_part_refuses_when_built_leaves_nothing_behind(train, tmp_path, capsys):
    assert train("env=faulty", "env.refuse=true") == 2
    err = capsys.readouterr().err
    assert err == "mbrl: env.refuse=true: refused when built\n"
    assert not list(tmp_path.glob("runs/*/*/*"))


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "--help"], 0),
        (["train", "agent=mbpo", "dynamics=ensemble", "--help"], 0),
        (["eval", "--help"], 0),
        (["train", "agent=mpbo"], 2),
        (["train", "--env=toy", "learner.tau=2"], 2),
        (["eval", "nowhere"], 2),
    ],
)
def test_help_and_bad_input_import_no_torch(mine, tmp_path, arguments, status):
    if arguments[0] == "train":
        arguments = [*arguments, f"--config-dir={mine}"]
    code = (
        "import sys\nfrom mbrl.cli import main\ntry: status = main()\n"
        "except SystemExit as end: status = end.code\n"
        "assert not {'torch', 'numpy', 'rich'} & set(sys.modules), 'heavy'\nsys.exit(status)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == (1 if status else 0)
    assert bool(done.stdout) == (status == 0)


def test_help_lists_groups_choices_and_keys(mine, capsys):
    assert main(["train", "--help", f"--config-dir={mine}"]) == 0
    shown = capsys.readouterr().out
    for words in ("env=pendulum", "signalled", "mbpo", "planner=none", "total_steps=5000"):
        assert words in shown
    assert "_type_" not in shown


def test_the_usage_names_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_the_doctor_says_what_is_there(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = ["dynaplan", "torch", "mujoco", "wandb", "devices cpu", "threads", "rendering"]
    for start in starts:
        assert any(line.startswith(start) for line in lines), start


def test_the_doctor_checks_an_environment(capsys):
    known = ["doctor", "env=gym", "env.id=tests.envs.broken:BrokenOnPurpose-v0"]
    assert main([*known, "env.kwargs={how: is killed}", "seed=1"]) == 1
    err = capsys.readouterr().err
    assert "environment 0, step 3: ended its process (signal 9)" in err and err.count("\n") == 1
    assert main(["doctor", "env=pendulum"]) == 0
    assert "nothing found wrong" in capsys.readouterr().out


# --- training


def test_a_run_goes_to_its_default_folder(train, capsys):
    assert train("total_steps=60", "eval_every=50", "eval_episodes=2", "seed=7") == 0
    folder = run_folder()
    assert folder.parts[1:3] == ("toy", "gain") and folder.name.startswith("7-")
    config = RunFolder.open(folder).config
    assert config["seed"] == 7 and config["run_dir"] == str(folder)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 60 and "eval/mean_reward" in metrics[-1]
    assert "done at step 60: eval/mean_reward" in capsys.readouterr().out
    assert torch.get_num_threads() == 1


def test_a_preset_is_announced(train, mine, tmp_path, capsys):
    folder = write(tmp_path / "p", {"experiment/random_toy": "# @package _global_\nseed: 4"})
    write(folder, {"env/toy": (mine / "env/toy.yaml").read_text()})
    arguments = [f"--config-dir={folder}", "env=toy", "agent=random", "total_steps=20"]
    assert main(["train", *arguments, "eval_episodes=1"]) == 0
    assert "experiment=random_toy" in capsys.readouterr().out
    assert run_folder().name.startswith("4-")


def test_eval_prints_one_json_line_from_the_restored_agent(train, capsys):
    assert train("total_steps=100", "run_dir=run", "eval_episodes=3") == 0
    summary = json.loads(Path("run/summary.json").read_text())
    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    score = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert score["eval/mean_reward"] == summary["eval/mean_reward"]  # same seeds, same agent
    assert score["eval/episodes"] == 3 and score["eval/std_reward"] >= 0
    assert main(["eval", "run", "--json", "--episodes", "5", "--seed", "9"]) == 0
    other = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert other["eval/episodes"] == 5
    assert other["eval/mean_reward"] != score["eval/mean_reward"]
    assert main(["eval", "run"]) == 0
    assert capsys.readouterr().out.startswith("eval/mean_reward ")


def test_a_loaded_agent_predicts_like_the_agent(train):
    assert train("total_steps=100", "run_dir=run") == 0
    agent = mbrl.load("run")
    obs = np.array([[0.2, 0.4], [-1.0, 0.0]])
    action, state = agent.predict(obs)
    np.testing.assert_allclose(action, -0.5 * obs.sum(1, keepdims=True), rtol=1e-6)
    assert state is None
    np.testing.assert_array_equal(agent.predict(obs[0])[0], action[0])


def test_a_report_compares_with_random_and_measures_the_model(train, capsys):
    assert train("total_steps=100", "run_dir=run") == 0
    assert main(["report", "run", "--episodes", "4"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    page = path.read_text()
    assert path == Path("run/report.html") and "random" in page and "gain" in page


def test_a_checkpoint_is_needed(train, capsys):
    RunFolder.create(Path("bare"), {"seed": 0})
    assert main(["eval", "bare"]) == 2 and main(["report", "bare"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert "no checkpoint" in err[0] and "no summary.json" in err[1]


def test_a_failure_names_its_reason_and_keeps_the_traceback(train, capsys):
    assert train("env=faulty", "run_dir=run") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert "EnvironmentFault: environment 0, step 30: a NaN in obs" in err
    assert "run/error.log" in err and "Traceback" in Path("run/error.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_saved_and_goes_on_to_the_same_end(train, number, capsys):
    common = ["total_steps=120", "eval_episodes=2", "env=signalled"]
    assert train(*common, "run_dir=whole", "env.at=1000000") == 0
    before = signal.getsignal(number)
    assert train(*common, "run_dir=cut", f"env.number={int(number)}") == 130
    assert signal.getsignal(number) is before
    assert "mbrl train --resume cut" in capsys.readouterr().err
    assert json.loads(Path("cut/summary.json").read_text())["finished"] is False
    assert [int(p.name) for p in RunFolder.open(Path("cut")).checkpoints()] == [50]

    config = Path("cut/config.yaml")
    config.write_text(config.read_text().replace("num_envs: 1", "num_envs: 1\n  at: 1000000"))
    assert main(["train", "--resume", "cut"]) == 0
    ends = [json.loads(Path(run, "summary.json").read_text()) for run in ("whole", "cut")]
    assert ends[0]["evaluations"] == ends[1]["evaluations"]


def test_the_second_interrupt_aborts_at_once(train, capsys):
    assert train("env=signalled", "env.times=2", "run_dir=run") == 130
    assert "aborted" in capsys.readouterr().err
    assert RunFolder.open(Path("run")).checkpoints() == []  # in the middle of a step


def test_a_finished_run_is_extended(train, capsys):
    assert train("total_steps=60", "run_dir=run") == 0
    assert main(["train", "--resume", "run", "--total_steps=90"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["step"] == 90
    assert RunFolder.open(Path("run")).config["total_steps"] == 90
    capsys.readouterr()
    for arguments in (["seed=3"], ["total_steps=0"], ["--config-dir", "."]):
        assert main(["train", "--resume", "run", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.slow
def test_ctrl_c_reaches_the_real_command(mine, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).parent / "mbrl"), "train", f"--config-dir={mine}"]
    arguments = ["env=toy", "agent=gain", "total_steps=100000000", "run_dir=run"]
    with subprocess.Popen(
        [*command, *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("step "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "mbrl train --resume run" in err
    assert RunFolder.open(tmp_path / "run").checkpoints()
