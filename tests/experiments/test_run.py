"""The runner: each run once, broken-off runs resumed, rows kept as they are finished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.experiments import run as runner
from scripts.experiments.run import Options, main, run_study
from scripts.experiments.study import Run, load_study
from scripts.experiments.table import read_table

ROOT = Path(__file__).parents[2]
SPEC = """
description: random and constant actions
table: toy.csv
columns: {agent: method, seed: seed, step: step, return: return, worst: worst, share: relative,
  every: config.eval_every, cpu: cpu_seconds, wall: wall_so_far, command: command}
relative: {column: share, to: ours, paired: true}
seeds: [0, 1]
settings: total_steps=LENGTH eval_every=200 eval_episodes=1 save_every=100
methods: {random: agent=random, wrong: agent=rndom}
references: {ours: tests.experiments.test_run.returns}
tasks: {pendulum: env=pendulum}
plan: [{methods: [random, ours]}]
"""


def returns(task: str, seed: int) -> list[float]:
    return [-1000.0 - seed, -1000.0 + seed]


@pytest.fixture
def spec(tmp_path, monkeypatch):
    def write(length: int = 400, more: str = "") -> Path:
        path = tmp_path / "toy.yaml"
        path.write_text(SPEC.replace("LENGTH", str(length)) + more)
        return path

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return write


def call(monkeypatch, spec: Path, *options: str) -> int:
    places = ["--results", str(spec.parent), "--runs", str(spec.parent / "runs")]
    monkeypatch.setattr(sys, "argv", ["run", str(spec), *places, *options])
    return main()


def test_every_run_is_done_once_and_its_rows_are_kept(spec, tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, spec(), "--jobs", "2") == 0
    out = capsys.readouterr().out
    rows = read_table(tmp_path / "toy.csv")
    assert [(r["agent"], r["seed"], r["step"]) for r in rows] == [
        ("random", "0", "200"), ("random", "0", "400"), ("random", "1", "200"),
        ("random", "1", "400"), ("ours", "0", "0"), ("ours", "1", "0"),
    ]  # fmt: skip
    for row in rows[:4]:
        assert float(row["share"]) == pytest.approx(float(row["return"]) / -1000, abs=1e-3)
        assert 0 < float(row["cpu"]) < 60 and row["every"] == "200" and float(row["wall"]) > 0
        assert row["command"].startswith(f"mbrl train agent=random env=pendulum seed={row['seed']}")
    assert rows[5]["worst"] == "-1001.0" and rows[5]["share"] == "1.0"
    head = (tmp_path / "toy.csv").read_text().splitlines()[0]
    assert head == "# python -m scripts.experiments.run toy"
    assert "pendulum random seed 1: " in out and "method random  runs 2  return " in out
    assert not any((tmp_path / "runs").iterdir())

    monkeypatch.setattr(runner, "run_mbrl", lambda *_: pytest.fail("run again"))
    assert call(monkeypatch, spec()) == 0
    assert call(monkeypatch, spec(600)) == 0
    assert "in the table by another command" in capsys.readouterr().out
    assert read_table(tmp_path / "toy.csv") == rows


def test_a_run_that_fails_does_not_keep_others_from_being_done(spec, monkeypatch, capfd, tmp_path):
    options = ["--tasks", "pendulum", "--methods", "wrong", "ours", "--seeds", "0"]
    assert call(monkeypatch, spec(), *options) == 1
    assert "ended with status 2" in capfd.readouterr().err
    assert [row["agent"] for row in read_table(tmp_path / "toy.csv")] == ["ours"]


@pytest.mark.slow
def test_a_runner_that_is_killed_goes_on_from_the_checkpoints(spec, tmp_path, monkeypatch):
    path, broken, whole = spec(3000), tmp_path / "broken", tmp_path / "whole"
    options = ["--methods", "random", "--seeds", "0"]
    places = ["--results", str(broken), "--runs", str(broken / "runs")]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.experiments.run", str(path), *options, *places],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    run = broken / "runs" / "random_pendulum_0"
    while not list((run / "checkpoints").glob("[0-9]*/manifest.json")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not runner.is_finished(run) and not (broken / "toy.csv").exists()
    study = load_study(str(path))
    resumed = []
    original = runner.run_mbrl

    def spy(arguments, *more, **options):
        resumed.append("--resume" in arguments)
        return original(arguments, *more, **options)

    monkeypatch.setattr(runner, "run_mbrl", spy)
    for place in (broken, whole):
        assert run_study(study, [Run("pendulum", "random", 0)], Options(place, place / "runs")) == 0
    assert resumed == [True, False]
    names = ("step", "return", "worst", "share", "command")
    one, other = (
        [[row[name] for name in names] for row in read_table(place / "toy.csv")]
        for place in (broken, whole)
    )
    assert one == other and len(one) == 15


@pytest.mark.slow
def test_a_run_that_is_stopped_by_the_time_has_rows_and_goes_on(spec, tmp_path, monkeypatch):
    path = spec(10_000_000)
    options = Options(tmp_path, tmp_path / "runs", seconds=1.0)
    study, run = load_study(str(path)), Run("pendulum", "random", 0)
    rows: list[dict[str, str]] = []
    while not rows:  # on a busy machine the first evaluation is not reached in time
        assert run_study(study, [run], options) == 0
        rows = read_table(tmp_path / "toy.csv")
        assert options.seconds
        options.seconds *= 1 if rows else 2
    before = int(rows[-1]["step"])
    assert run_study(study, [run], options) == 0
    assert before <= int(read_table(tmp_path / "toy.csv")[-1]["step"]) < 10_000_000
    later = runner.Runner(study, Options(tmp_path, tmp_path / "runs"))
    assert not later.is_done(run), "its folder is still there"


def test_a_run_stops_at_its_goal(spec, tmp_path, monkeypatch, capsys):
    path = spec(20_000, "goal: -5000\n")
    path.write_text(path.read_text().replace("step: step", "step: interactions, got: reached"))
    assert call(monkeypatch, path, "--methods", "random", "--seeds", "0") == 0
    (row,) = read_table(tmp_path / "toy.csv")
    assert row["got"] == row["step"] == "200"
    assert "goal at 200" in capsys.readouterr().out and not any((tmp_path / "runs").iterdir())


def test_the_commands_can_be_read_before_they_are_run(spec, monkeypatch, capsys):
    assert call(monkeypatch, spec(), "--list", "--methods", "random", "--set", "a=1") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("seed=1 total_steps=400 "
                                                            "eval_every=200 eval_episodes=1 "
                                                            "save_every=100 a=1")  # fmt: skip
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, spec(), "--methods", "sac")
    assert "toy has no method sac; it has random, wrong, ours" in capsys.readouterr().err


def test_a_method_runs_in_the_checkout_that_is_named(tmp_path):
    package = tmp_path / "other" / "mbrl"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import os\nprint('of', os.getcwd())\n")
    runner.run_mbrl(["train"], output=tmp_path / "said", build=tmp_path / "other")
    assert (tmp_path / "said").read_text() == f"of {tmp_path / 'other'}\n"
