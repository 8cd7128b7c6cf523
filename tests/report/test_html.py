"""The report: one self-contained file that holds every number."""

import json
import math

import pytest
import torch

from mbrl.report import ModelError, plots, write_report
from mbrl.report.html import _error_table, _score_row, _series

SUMMARY = {
    "step": 20, "time/cpu_seconds": 12.0, "time/wall_seconds": 13.0,
    "evaluations": [{"step": 10, "rewards": [1.0, 3.0]}, {"step": 20, "rewards": [5.0, 6.0]}],
}  # fmt: skip
CONFIG = {"choices": {"agent": "mbpo", "env": "<toy>"}, "seed": 3, "device": "cpu"}
SCORES = {"mbpo": [5.0, 6.0], "random": [-1.0, -3.0]}
ROWS = [{"step": s, "model/holdout_mse": 0.5 / s, "rollout/ep_rew_mean": s} for s in (1, 2)]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "versions.json").write_text(json.dumps({"torch": "2.13.0"}))
    return tmp_path


def test_the_report_holds_every_number_and_loads_nothing(run):
    error = ModelError(torch.tensor([0.01, 0.02]), torch.tensor([0.3, 0.6]), 50, "<new> data")
    path = write_report(run, CONFIG, SCORES, error)
    assert path == run / "report.html"
    page = path.read_text()
    for text in (
        "<title>mbpo on &lt;toy&gt;, seed 3",
        "20 environment steps, 12 CPU seconds, 13 seconds",
        "mbpo: mean return <b>5.5</b> over 2 episodes",
        "<tr><td>random",
        "0.0200",
        "50 sequences of &lt;new&gt; data",
        "device: cpu",
        "2.13.0",
        str(run),
    ):
        assert text in page, text
    assert page.count("data:image/png;base64,") == 4  # returns, model error, two metrics
    assert "http:" not in page and "https:" not in page and "<script" not in page


def test_the_learning_curve_is_drawn_beside_the_means_of_the_others(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "learning_curve", lambda *given: drawn.append(given) or b"")
    write_report(run, CONFIG, SCORES)
    assert drawn == [(SUMMARY["evaluations"], {"random": -2.0}, "learning curve")]


def test_without_evaluations_or_a_model_there_are_fewer_figures(run):
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"evaluations": []}))
    page = write_report(run, CONFIG | {"dataset": "toy/v0"}, SCORES).read_text()
    assert page.count("data:image/png;base64,") == 2 and "Model error" not in page
    assert "20 updates, " in page  # of an agent that learns from a dataset


def test_a_row_has_mean_spread_worst_best_and_number():
    row = _score_row("<b>", [1.0, 2.0, 6.0])
    cells = row.removeprefix("<tr><td>&lt;b&gt;").removesuffix("</tr>").split('<td class="n">')[1:]
    assert cells == ["3.0", f"{math.sqrt(14 / 3):.1f}", "1.0", "6.0", "3"]


def test_the_models_error_is_shown_at_chosen_horizons():
    table = _error_table(ModelError(torch.arange(1, 8) / 10, torch.arange(1, 8) / 1.0, 50))
    assert "<th>steps<th>1<th>2<th>5<th>7</tr>" in table  # and the last one
    assert (
        "<td>model<td class=n>0.1000<td class=n>0.2000<td class=n>0.5000<td class=n>0.7000" in table
    )
    assert "<td>no change<td class=n>1.0000" in table


def test_the_curves_are_those_worth_a_figure(run):
    rows = [
        {"step": 1, "train/mean_q": 2.0, "train/actor_loss": 9.0},
        {"step": 5, "train/mean_q": 3.0, "eval/action_gap": 0.5},
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert _series(run / "metrics.jsonl") == {
        "train/mean_q": ([1, 5], [2.0, 3.0]),
        "eval/action_gap": ([5], [0.5]),
    }
