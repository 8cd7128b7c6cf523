"""COPlanner's study: measures by hand, its statistics, and that the kept summary is made again."""

import math

import pytest
import torch

from scripts.experiments import coverage as script
from scripts.experiments.run import Options, run_study
from scripts.experiments.study import RESULTS, Run, load_study
from scripts.experiments.table import read_table


def test_coverage_counts_the_cells_reached_so_far():
    task = script.TaskMeasures(lambda obs: obs, [(0.0, 1.0, 4), (-1.0, 1.0, 2)], bar=0, scale=1)
    obs = torch.tensor([[0.1, -0.5], [0.2, -0.1], [0.9, 0.5], [5.0, 9.0], [-7.0, 0.5]])
    assert script.coverage(obs, task, [1, 2, 3, 4, 5]) == [1 / 8, 1 / 8, 2 / 8, 2 / 8, 3 / 8]


def test_the_grid_of_the_pendulum_is_over_its_angle_and_speed():
    angle = torch.linspace(-math.pi + 1e-3, math.pi - 1e-3, 5000)
    obs = torch.stack([angle.cos(), angle.sin(), torch.zeros(5000)], 1)
    assert script.coverage(obs, script.TASKS["pendulum_sparse"], [5000]) == [20 / 400]


def test_first_reward_is_numbered_from_one_and_may_be_missing():
    assert script.first_reward(torch.tensor([0.0, 0.2, 1.0, 0.0, 1.0]), 0.5) == 3
    assert script.first_reward(torch.tensor([0.0, 0.5]), 0.5) is None


def rows(method, seed, returns, first, share):
    return [
        {"method": method, "seed": str(seed), "step": str(100 * (i + 1)), "return": value,
         "coverage": str(share), "first_reward": "" if first is None else str(first),
         "cpu_seconds": "10", "command": "-"}
        for i, value in enumerate(returns)
    ]  # fmt: skip


def test_differences_are_paired_by_seed_and_censored_at_the_end():
    table = [
        *rows("mbpo", 1, [0, 2], None, 0.25), *rows("mbpo", 2, [10, 20], 150, 0.5),
        *rows("mbpo", 3, [7, 7], 5, 0.5),
        *rows("coplanner", 1, [4, 8], 90, 0.75), *rows("coplanner", 2, [16, 20], 50, 0.75),
    ]  # fmt: skip
    lines = script.summarize(load_study("coplanner"), {"pendulum_sparse": script.scores(table)})
    found = {line["measure"]: line for line in lines}
    assert {line["method"] for line in lines} == {"coplanner"}
    assert found["auc"]["differences"] == "5 3" and found["auc"]["difference"] == 4
    assert found["final"]["differences"] == "6 0" and found["final"]["above"] == 1
    assert found["first_reward"]["differences"] == "-110 -100"  # 90 - 200, 50 - 150
    assert found["reached"]["differences"] == "1 0" and found["coverage"]["above"] == 2
    assert found["auc"]["runs"] == 2 and found["auc"]["mbpo"] == 8


def test_the_kept_summary_is_that_of_the_kept_tables(tmp_path):
    for path in (RESULTS / "coplanner").glob("*.csv"):
        if path.name != "summary.csv":
            (tmp_path / "coplanner").mkdir(exist_ok=True)
            (tmp_path / "coplanner" / path.name).write_bytes(path.read_bytes())
    script.report(load_study("coplanner"), tmp_path, tmp_path / "figure.png")
    kept, again = (read_table(place / "coplanner" / "summary.csv") for place in (RESULTS, tmp_path))
    assert again == kept and len(kept) == 60
    assert (tmp_path / "figure.png").exists()


@pytest.mark.slow
def test_a_whole_run_is_measured_and_leaves_nothing(tmp_path):
    small = ["total_steps=300", "eval_every=150", "eval_episodes=1", "learner.hidden=16",
             "dynamics.training.max_updates=50", "dynamics.training.min_updates=50",
             "dynamics.hidden=16",
             "agent.num_rollouts=100"]  # fmt: skip
    runs, options = [Run("pendulum_sparse", "coplanner", 1)], Options(tmp_path, tmp_path / "runs")
    options.extra = small
    assert run_study(load_study("coplanner"), runs, options) == 0
    result = read_table(tmp_path / "coplanner" / "pendulum_sparse.csv")
    assert [row["step"] for row in result] == ["150", "300"]
    assert not any((tmp_path / "runs").iterdir())
    assert 0 < float(result[0]["coverage"]) <= float(result[1]["coverage"]) < 1
    assert result[0]["command"].startswith("mbrl train agent=coplanner env=pendulum_sparse seed=1")
