"""The real W&B client, command line included, against a stub of its server on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mbrl.errors import BadInput
from mbrl.training.logger import WandbSink
from mbrl.training.run_folder import RunFolder
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


def test_a_run_that_wandb_refuses_is_answered_in_one_line(tmp_path, monkeypatch):
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(BadInput, match="W&B does not start .*WANDB_MODE=offline") as caught:
        WandbSink(tmp_path, CONFIG)
    assert "\n" not in str(caught.value)


def test_a_wandb_that_fails_on_the_way_costs_one_line_and_not_the_run(
    tmp_path, monkeypatch, capsys
):
    import wandb

    class Broken:
        def __init__(self):
            self.calls = 0

        def define_metric(self, *args, **kwargs):
            pass

        def log(self, row):
            self.calls += 1
            raise RuntimeError("service\nis gone")

        def finish(self):
            raise AssertionError("asked again")

    broken = Broken()
    monkeypatch.setattr(wandb, "init", lambda **kwargs: broken)
    sink = WandbSink(tmp_path, CONFIG)
    for step in (1, 2):
        sink.log({"eval/mean_reward": 0.0}, step)
    sink.close()
    err = capsys.readouterr().err
    assert broken.calls == 1 and err.count("\n") == 1 and "RuntimeError: service is gone" in err
