"""The study of offline policies: its statistics by hand, and that it goes on where it was."""

import sys

import pytest

from scripts.experiments import offline_study as study
from scripts.experiments.study import write_table


def rows(method, seed, scores):
    return [
        {"method": method, "seed": seed, "step": 100 * (i + 1), "return": 0, "score": score,
         "cpu_seconds": 1, "wall_seconds": 1, "command": "-"}
        for i, score in enumerate(scores)
    ]  # fmt: skip


def test_methods_are_compared_by_their_last_scores_on_shared_seeds(tmp_path):
    kept = [*rows("mopo", 0, [90, 10]), *rows("mopo", 1, [90, 20]), *rows("mopo", 2, [5, 0])]
    kept += [*rows("morec", 1, [0, 50]), *rows("morec", 0, [0, 20])]
    write_table(tmp_path / "pendulum.csv", "how", study.FIELDS, kept)
    lines = {line["method"]: line for line in study.summarise(tmp_path)}
    assert lines["mopo"]["scores"] == "10.0 20.0 0.0" and lines["mopo"]["range"] == 20
    assert lines["morec"]["score"] == 35 and lines["morec"]["runs"] == 2
    assert lines["morec"]["above_mopo"] == "20.0 [10.0, 30.0]"  # 10 and 30 above
    assert "above_mopo" not in lines["mopo"]


@pytest.mark.parametrize("method", study.METHODS)
def test_every_run_of_the_study_is_a_valid_command(method):
    from mbrl.config import compose

    for task in study.TASKS:
        config, _ = compose(study.settings(task, method, 3))
        assert config["seed"] == 3 and config["dataset"] == study.TASKS[task].id


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors
def test_a_run_is_kept_once_and_scored(tmp_path, monkeypatch, capsys):
    small = study.TASKS["pendulum"]._replace(
        agent="agent=random total_steps=1", collect="--steps 400 --mix random --ref-max -100"
    )
    monkeypatch.setitem(study.TASKS, "pendulum", small)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    places = ["--folder", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    shorter = ["--set", "total_steps=20", "eval_every=20", "log_every=10", "learner.hidden=8"]
    options = ["--methods", "td3_bc", "--seeds", "0", *places, *shorter]
    for what in ("data", "runs", "runs"):
        monkeypatch.setattr(sys, "argv", ["offline_study.py", what, *options])
        study.main()
    assert capsys.readouterr().out.count("td3_bc seed 0: scores") == 1
    (row,) = study.read(tmp_path / "results", "pendulum")
    assert row["step"] == "20" and float(row["score"]) < 100
    assert not list((tmp_path / "runs").glob("pendulum-*"))
