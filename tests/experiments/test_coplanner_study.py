"""The study of COPlanner: measures by hand, its statistics, and that it goes on where it was."""

import csv
import math

import pytest
import torch

from scripts.experiments import coplanner_study as study


def test_coverage_counts_the_cells_reached_so_far():
    task = study.TaskMeasures(lambda obs: obs, [(0.0, 1.0, 4), (-1.0, 1.0, 2)], bar=0, scale=1)
    obs = torch.tensor([[0.1, -0.5], [0.2, -0.1], [0.9, 0.5], [5.0, 9.0], [-7.0, 0.5]])
    assert study.coverage(obs, task, [1, 2, 3, 4, 5]) == [1 / 8, 1 / 8, 2 / 8, 2 / 8, 3 / 8]


def test_the_grid_of_the_pendulum_is_over_its_angle_and_speed():
    angle = torch.linspace(-math.pi + 1e-3, math.pi - 1e-3, 5000)
    obs = torch.stack([angle.cos(), angle.sin(), torch.zeros(5000)], 1)
    assert study.coverage(obs, study.TASKS["pendulum_sparse"], [5000]) == [20 / 400]


def test_first_reward_is_numbered_from_one_and_may_be_missing():
    assert study.first_reward(torch.tensor([0.0, 0.2, 1.0, 0.0, 1.0]), 0.5) == 3
    assert study.first_reward(torch.tensor([0.0, 0.5]), 0.5) is None


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
    lines = study.summarise({"pendulum_sparse": study.scores(table)})
    found = {line["measure"]: line for line in lines}
    assert {line["method"] for line in lines} == {"coplanner"}
    assert found["auc"]["differences"] == "5 3" and found["auc"]["difference"] == 4
    assert found["final"]["differences"] == "6 0" and found["final"]["above"] == 1
    assert found["first_reward"]["differences"] == "-110 -100"  # 90 - 200, 50 - 150
    assert found["reached"]["differences"] == "1 0" and found["coverage"]["above"] == 2
    assert found["auc"]["runs"] == 2 and found["auc"]["mbpo"] == 8


def test_runs_that_are_kept_are_not_done_again(tmp_path, monkeypatch):
    """Broken off after three runs and started anew: each run is done once, the table is whole."""
    asked = []

    def train(task, method, seed, extra, folder):
        if len(asked) == 3:
            asked.append(None)
            raise RuntimeError("broken off")
        asked.append((method, seed))
        return rows(method, seed, [seed, 2 * seed], None, 0.1)

    monkeypatch.setattr(study, "train", train)
    arguments = ["study", "--tasks", "pendulum_sparse", "--seeds", "1", "2", "--folder",
                 f"{tmp_path}/runs", "--results", f"{tmp_path}/results", "--figure",
                 f"{tmp_path}/figure.png"]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(RuntimeError, match="broken off"):
        study.main()
    assert asked[:3] == [("mbpo", 1), ("coplanner", 1), ("mbpo", 2)]  # whole pairs come first
    study.main()
    assert asked[4:] == [("coplanner", 2)]
    with (tmp_path / "results" / "pendulum_sparse.csv").open() as file:
        kept = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [(row["method"], row["seed"]) for row in kept[::2]] == [
        ("coplanner", "1"), ("coplanner", "2"), ("mbpo", "1"), ("mbpo", "2"),
    ]  # fmt: skip
    assert (tmp_path / "results" / "summary.csv").exists() and (tmp_path / "figure.png").exists()


def test_a_whole_run_is_measured_and_leaves_nothing(tmp_path):
    small = ["total_steps=300", "eval_every=150", "eval_episodes=1", "learner.hidden=16",
             "dynamics.training.max_updates=50", "dynamics.training.min_updates=50",
             "dynamics.hidden=16",
             "agent.num_rollouts=100"]  # fmt: skip
    found = study.train("pendulum_sparse", "coplanner", 1, small, tmp_path)
    assert [row["step"] for row in found] == [150, 300] and not any(tmp_path.iterdir())
    assert 0 < found[0]["coverage"] <= found[1]["coverage"] < 1
    assert found[0]["command"].startswith("mbrl train agent=coplanner env=pendulum_sparse seed=1")
