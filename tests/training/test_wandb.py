"""The real W&B client, command line included, against a stub of its server on loopback."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from mbrl.cli import main
from mbrl.training.run_folder import RunFolder
from mbrl.training.wandb_sink import WandbSink
from tests.stub_wandb import StubWandb
from tests.training.test_logger import CONFIG

BIN = Path(sys.executable).parent
TINY = {"total_steps": 50, "eval_every": 30, "log_every": 20, "eval_episodes": 1}
SWEEP = {
    "program": "mbrl",
    "command": ["${env}", "${program}", "train", "agent=mbpo", "env=pendulum", "${args}"],
    "method": "random",
    "metric": {"name": "eval/mean_reward", "goal": "maximize"},
    "parameters": {"seed": {"values": [1, 2, 3]}},
}
TRIALS = [
    {
        **TINY,
        "agent.learning_starts": 30,
        "agent.rollout_length": [0, 1, 1, 2],
        "learner": {"hidden": 8, "learning_rate": 1e-05, "target_entropy": None},
        "learner.tau": 0.25,
        "dynamics.hidden": 8.0,  # as W&B's q_uniform gives it
        "dynamics.training.max_updates": 5,
        "dynamics.training.min_updates": 5,
        "logger.wandb": True,
        "logger.project": 'it\'s a=b, [é] "x" ',
        "run_dir": "a=b, [c] 'd'",
        "seed": 1,
    },
    {**TINY, "agent": "random", "logger": {"wandb": True}, "seed": 2, "run_dir": "second"},
    {**TINY, "agent": "random", "logger.wandb": True, "seed": 3, "run_dir": None},
]


def call(folder: Path, environment: dict[str, str], *command: str) -> str:
    """Run a command to its end, a minute and a half at most; give what it said."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_real_client_runs_three_trials_and_a_resume_goes_on_in_the_same_run(tmp_path):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    path = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    with StubWandb(TRIALS) as server:
        environment = inherited | path | server.environment(tmp_path / "w")
        said = call(tmp_path, environment, "wandb", "sweep", "-p", "dynaplan", "sweep.yaml")
        assert "wandb agent me/dynaplan/sweep1" in said
        assert yaml.safe_load(server.sweep) == SWEEP

        said = call(tmp_path, environment, "wandb", "agent", "--count", "3", "me/dynaplan/sweep1")
        folders = [tmp_path / "a=b, [c] 'd'", tmp_path / "second"]
        folders += tmp_path.glob("runs/pendulum/random/3-*")
        assert len(folders) == 3, said
        for number, folder in enumerate(folders):
            seen = server.runs[f"trial{number}"]
            assert seen["sweep"] == "sweep1"
            assert (folder / "wandb_id").read_text() == f"trial{number}"
            config = RunFolder.open(folder).config
            assert seen["config"]["seed"]["value"] == config["seed"] == number + 1
            assert config["total_steps"] == 50
            # the metric that the sweep steers by is there at the last step, in both records
            record = lines(folder)
            assert [row["step"] for row in record if "eval/mean_reward" in row] == [30, 50]
            assert record[-1]["step"] == 50
            sent = [{k: v for k, v in row.items() if k[0] != "_"} for row in seen["history"]]
            assert sent == record

        config = RunFolder.open(folders[0]).config
        assert config["agent"]["rollout_length"] == [0, 1, 1, 2]
        learner = config["learner"]
        assert (learner["hidden"], learner["learning_rate"], learner["tau"]) == (8, 1e-5, 0.25)
        assert learner["target_entropy"] is None and config["dynamics"]["hidden"] == 8
        assert config["logger"]["project"] == TRIALS[0]["logger.project"]

        # without the agent's variables: the id in the run folder decides
        call(tmp_path, environment, "mbrl", "train", "--resume", "second", "total_steps=80")
        history = server.runs["trial1"]["history"]
        assert set(server.runs) == {"trial0", "trial1", "trial2"}
        assert [row["step"] for row in history if "eval/mean_reward" in row] == [30, 50, 60, 80]
        assert server.unknown == []


@pytest.fixture
def own_id(monkeypatch):
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)


def one_line(err: str, words: str) -> bool:
    """Return whether stderr holds one line with these words, and that the run goes on."""
    return err.count("\n") == 1 and words in err and "this run goes on without it" in err


def test_a_wandb_that_refuses_the_run_costs_one_line(tmp_path, monkeypatch, own_id):
    code = (
        "import sys; from pathlib import Path; from mbrl.training.wandb_sink import WandbSink\n"
        "sink = WandbSink(Path(sys.argv[1]), {'logger': {'project': 'tests'}})\n"
        "sink.log({'x': 1.0}, 1); sink.close()"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | {
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "short",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "NETRC": str(tmp_path / "netrc"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and one_line(done.stderr, "W&B failed (")


class Faulty:
    """W&B that fails in a call: it raises, ends the process, or hangs."""

    def __init__(self, where: str, how: str):
        self.where, self.how, self.calls = where, how, []

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.where:
            if self.how == "hangs":
                threading.Event().wait(20)
            raise {"raises": RuntimeError, "exits": SystemExit}.get(self.how, OSError)("is\ngone")

    def init(self, **_) -> "Faulty":
        self.call("init")
        return self

    def define_metric(self, *_, **__) -> None:
        self.call("define")

    def log(self, row) -> None:
        self.call("log")

    def finish(self) -> None:
        self.call("finish")


@pytest.mark.parametrize("where", ["init", "define", "log", "finish"])
@pytest.mark.parametrize(
    "how, words",
    [
        ("raises", "RuntimeError: is gone"),
        ("exits", "SystemExit: is gone"),
        ("hangs", "no answer within 0.2 s"),
    ],
)
def test_a_wandb_that_fails_anywhere_costs_one_line_and_no_time(
    tmp_path, monkeypatch, capsys, own_id, where, how, words
):
    import wandb

    faulty = Faulty(where, how)
    monkeypatch.setattr(wandb, "init", faulty.init)
    monkeypatch.setattr(wandb, "setup", lambda **_: None)
    sink = WandbSink(tmp_path, CONFIG, patience=0.2 if how == "hangs" else 60)
    began = time.monotonic()
    for step in (1, 2):
        sink.log({"eval/mean_reward": 0.0}, step)
    sink.close()
    sink.close()
    assert time.monotonic() - began < 5
    assert one_line(capsys.readouterr().err, words)
    assert faulty.calls[-1] == where and faulty.calls.count(where) == 1  # not asked again


def test_a_wandb_that_works_gets_every_row_in_order(tmp_path, monkeypatch, capsys, own_id):
    import wandb

    faulty, rows = Faulty("never", ""), []
    monkeypatch.setattr(wandb, "init", faulty.init)
    monkeypatch.setattr(wandb, "setup", lambda **_: None)
    monkeypatch.setattr(faulty, "log", rows.append)
    sink = WandbSink(tmp_path, CONFIG)
    for step in range(100):
        sink.log({"x": step / 2}, step)
    sink.close()
    assert rows == [{"step": step, "x": step / 2} for step in range(100)]
    assert faulty.calls == ["init", "define", "finish"] and capsys.readouterr().err == ""


def test_a_folder_that_cannot_keep_the_id_costs_one_line(tmp_path, capsys, own_id):
    sink = WandbSink(tmp_path / "gone", CONFIG)
    sink.close()
    assert one_line(capsys.readouterr().err, "FileNotFoundError")


def test_new_and_resumed_runs_end_the_same_whatever_wandb_does(
    tmp_path, monkeypatch, capsys, own_id
):
    import wandb

    monkeypatch.chdir(tmp_path)
    tiny = ["agent=random", "env=pendulum", "total_steps=60", "eval_episodes=1", "log_every=20"]
    ends = {}
    for name, wanted in (("without", False), ("with", True)):
        monkeypatch.setattr(wandb, "init", Faulty("init", "raises").init)
        arguments = [*tiny, f"run_dir={name}", f"logger.wandb={str(wanted).lower()}"]
        assert main(["train", *arguments]) == 0
        assert main(["train", "--resume", name, "total_steps=100"]) == 0
        assert capsys.readouterr().err.count("W&B failed") == 2 * wanted
        ends[name] = RunFolder.open(tmp_path / name).load("agent", "buffer", "env")
        ends[name]["metrics"] = [
            {k: v for k, v in row.items() if not k.startswith("time/")}
            for row in lines(tmp_path / name)
        ]
    assert str(ends["with"]) == str(ends["without"])
