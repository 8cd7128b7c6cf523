"""The datasets of the offline study: made once, and a run on one is scored."""

import pytest

from scripts.experiments import offline_data
from scripts.experiments.run import Options, run_study
from scripts.experiments.study import Run, load_study
from scripts.experiments.table import read_table


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors
def test_a_run_on_a_dataset_that_was_made_is_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    study = load_study("offline")
    study.tasks["pendulum"] |= {
        "agent": "agent=random total_steps=1",
        "collect": "--steps 400 --mix random --ref-max -100",
    }
    offline_data.make(study, "pendulum", tmp_path / "agents")
    options = Options(tmp_path, tmp_path / "runs")
    options.extra = ["total_steps=20", "eval_every=20", "log_every=10", "learner.hidden=8"]
    assert run_study(study, [Run("pendulum", "td3_bc", 0)], options) == 0
    (row,) = read_table(tmp_path / "offline" / "pendulum.csv")
    assert row["step"] == "20" and float(row["score"]) < 100
    assert not list((tmp_path / "runs").iterdir())
