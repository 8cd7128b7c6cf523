"""The table of D4RL's and NeoRL's tasks: what is looked for, how it is scored, that it goes on."""

import sys

import numpy as np
import pytest

from mbrl.config import compose
from scripts.experiments import d4rl_table as script
from scripts.experiments import run as runner
from scripts.experiments.study import Run, load_study
from scripts.experiments.table import read_table, write_table
from tests.data.flat_files import d4rl, neorl, steps

SHORT = ["--steps", "20", "--set", "learner.hidden=8", "learner.batch_size=8", "eval_episodes=2"]


@pytest.mark.slow
@pytest.mark.parametrize("method", load_study("d4rl").methods)
def test_every_run_has_the_settings_of_its_task(method):
    study = load_study("d4rl")
    d4rl_tasks, neorl_tasks = list(study.tasks)[:12], list(study.tasks)[12:]
    for task in (*d4rl_tasks[1::4], *neorl_tasks[1::3]):  # one of each environment
        own = study.tasks[task]
        own["dataset"] = "a.hdf5"
        config, notes = compose(study.arguments(Run(task, method, 3)))
        assert config["env"]["task"]["_target_"].rpartition(".")[2].lower() in task.lower()
        if method in ("mopo", "mobile", "morec", "morec_wide"):
            assert config["total_steps"] == 3_000_000 and "is applied" in notes[0]
            assert config["agent"]["penalty"]["scale"] == own[method.split("_")[0]]
            base = config["dynamics"].get("base", config["dynamics"])
            assert (base["num_layers"], base["hidden"], base["uncertainty"]) == (4, 200, "raw_std")


def test_the_original_files_are_found_and_missing_ones_named(tmp_path, capsys):
    assert script.file_names("hopper-medium-replay-v2")[0] == "hopper_medium_replay-v2.hdf5"
    for name in ("walker2d_random-v2.hdf5", "Hopper-v3-low-1000-train-noise.npz"):
        (tmp_path / name).touch()
    for task in ("walker2d-random-v2", "Hopper-v3-low"):
        assert script.find(task, tmp_path, {}) is not None
    assert script.find("walker2d-medium-v2", tmp_path, {"walker2d-medium-v2": "a/b-v0"}) == "a/b-v0"
    assert script.find("halfcheetah-medium-expert-v2", tmp_path, {}) is None
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "no halfcheetah_medium_expert-v2.hdf5 in" in out
    assert "gym_mujoco_v2/halfcheetah_medium_expert-v2.hdf5" in out


def test_a_run_counts_by_its_last_ten_evaluations_on_the_benchmarks_scale(tmp_path):
    rows = [{"method": "mopo", "seed": "1", "step": str(i), "return": i} for i in range(1, 13)]
    scored = script.scored(tmp_path, "Hopper-v3-low", rows)
    low, high = script.references("Hopper-v3-low")
    assert (low, high) == (5, 3294)
    expected = 100 * (np.mean(range(3, 13)) - low) / (high - low)
    assert script.final_scores(scored)["mopo"][1] == pytest.approx(expected, abs=0.01)


def test_the_table_has_means_over_seeds_and_over_tasks(tmp_path):
    study = load_study("d4rl")
    for task, values in (("hopper-medium-v2", [10, 20]), ("walker2d-medium-v2", [40])):
        rows = [
            {**dict.fromkeys(study.columns, 0), "method": "mopo", "seed": s, "score": v}
            for s, v in enumerate(values)
        ]
        if task == "hopper-medium-v2":
            rows.append({**rows[0], "method": "morec", "score": 99})
        write_table(study.path(tmp_path, task), "how", list(study.columns), rows)
    lines = script.table(study, tmp_path).splitlines()
    assert "| task | mopo | morec | MOPO, published |" in lines
    assert "Shortened, so not to be compared: mopo (0 updates), morec (0 updates)." in lines[-1]
    assert "| hopper-medium-v2 | 15.0 ± 5.0 (2) | 99.0 ± 0.0 (1) | 62.8 ± 38.1 |" in lines
    assert "| walker2d-medium-v2 | 40.0 ± 0.0 (1) | – | 84.1 ± 3.2 |" in lines
    assert "| mean of 2 of D4RL's 12 | 27.5 | – | – |" in lines


@pytest.mark.slow
def test_a_table_that_was_interrupted_is_completed(tmp_path, monkeypatch, capsys):
    """Two tiny files; the second run is stopped before its end, then the same command goes on."""
    made = steps([30, 20], ["timeout", "terminal"], dim=11)
    for key in ("obs", "next_obs"):  # upright but at the terminal, where Hopper has fallen
        made[key] = 0.01 * made[key] + np.eye(1, 11, dtype=np.float32)
    made["next_obs"][-1, 0] = 0.5
    made["action"] = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    d4rl(tmp_path / "hopper_medium-v2.hdf5", made)
    with_x = {"obs": (made["obs"],), "next_obs": (made["next_obs"],)}
    shown = {k: np.concatenate([np.ones((50, 1), np.float32), *v], 1) for k, v in with_x.items()}
    neorl(tmp_path / "Hopper-v3-low-1000-train-noise.npz", {**made, **shown}, [30, 20])
    began, original = [], runner.run_mbrl

    def run(arguments, *more, **options):
        began.append("--resume" in arguments)
        cpu = original(arguments, *more, **options)
        if len(began) == 2:  # as if the terminal were closed as its second run ends
            raise KeyboardInterrupt
        return cpu

    monkeypatch.setattr(runner, "run_mbrl", run)
    tasks = ("hopper-medium-v2", "walker2d-medium-v2", "Hopper-v3-low")
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    options = ["--data", str(tmp_path), "--methods", "td3_bc", "--seeds", "0", *SHORT, *folders]
    monkeypatch.setattr(sys, "argv", ["d4rl_table.py", *options, "--tasks", *tasks])
    assert script.main() == 130
    assert "walker2d-medium-v2: no walker2d_medium-v2.hdf5" in capsys.readouterr().out
    assert len(read_table(tmp_path / "d4rl" / "hopper-medium-v2.csv")) == 10
    assert not (tmp_path / "d4rl" / "Hopper-v3-low.csv").exists()
    assert script.main() == 0
    assert began == [False, False], "what had ended is read"
    out = capsys.readouterr().out
    assert "mean of 1 of NeoRL's 9" in out and "62.8 ± 38.1" in out
    assert not list((tmp_path / "runs").iterdir())
    rows = read_table(tmp_path / "d4rl" / "Hopper-v3-low.csv")
    assert len(rows) == 10 and all(-5 < float(row["score"]) < 20 for row in rows)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--data DIR with the files, or --dataset TASK=ID"),
        (["--data", "nowhere"], "--data nowhere: no such folder"),
        (["--dataset", "hoper=a-v0"], "should be TASK=ID; tasks: halfcheetah-random-v2"),
        (["--data", ".", "--steps", "0"], "0 should be a whole number from 1"),
        (
            ["--data", ".", "--tasks", "hopper"],
            "d4rl has no task hopper; it has halfcheetah-random-v2",
        ),
    ],
)
def test_wrong_options_are_refused(monkeypatch, capsys, options, words):
    monkeypatch.setattr(sys, "argv", ["d4rl_table.py", *options])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert words in capsys.readouterr().err
