"""`mbrl report`: the policy beside a random one, and the model on fresh episodes."""

import json
from pathlib import Path

from mbrl.cli import main
from mbrl.report import run_report
from mbrl.training.run_folder import RunFolder


def test_a_report_compares_with_random_and_measures_the_model(train, capsys):
    assert train("total_steps=100", "run_dir=run") == 0
    assert main(["report", "run", "--trust", "--episodes", "4"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    page = path.read_text()
    assert path == Path("run/report.html") and "random" in page and "gain" in page


def test_what_is_measured_is_the_trained_policy_a_random_one_and_the_true_model(train, monkeypatch):
    assert train("total_steps=100", "run_dir=run", "eval_episodes=3") == 0
    written = []
    monkeypatch.setattr(run_report, "write_report", lambda *a: written.append(a) or Path("page"))
    assert main(["report", "run", "--trust"]) == 0
    ((path, config, scores, error),) = written
    assert path == Path("run") and config["choices"]["env"] == "toy"
    assert list(scores) == ["gain", "random"] and len(scores["random"]) == 3
    summary = json.loads(Path("run/summary.json").read_text())
    assert scores["gain"] == summary["evaluations"][-1]["rewards"]  # the same seeds and agent
    assert error.model.shape == (20,) and error.model.max() < 1e-5  # the model is the truth


def test_a_simulator_is_planned_in_and_has_no_error(train, capsys):
    settings = "agent=pets dynamics=simulator env=pendulum planner.horizon=2 eval_episodes=1"
    sizes = "planner.num_samples=4 planner.num_elites=2 planner.num_iterations=1 total_steps=5"
    assert train(*settings.split(), *sizes.split(), "run_dir=run") == 0
    assert main(["report", "run"]) == 0
    assert Path(capsys.readouterr().out.splitlines()[-1]).is_file()


def test_a_summary_is_needed(train, capsys):
    RunFolder.create(Path("bare"), {"seed": 0})
    assert main(["report", "bare"]) == 2
    assert capsys.readouterr().err == "mbrl: bare: has no summary.json yet; train it first\n"
