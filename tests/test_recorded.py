"""`mbrl.fit`: models of recorded runs, the best one as a run folder."""

import csv
import json
from typing import Any

import numpy as np
import pytest
import torch

import mbrl
from mbrl.agents import FittedModel
from mbrl.errors import BadInput
from mbrl.planners import CEM

QUICK = ("dynamics.training.max_updates=30", "dynamics.training.min_updates=1", "dynamics.hidden=8")


def write_pendulum(path, episodes=8, steps=60):
    """Record a pendulum whose angle wraps, under random torques; return the path."""
    draws = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["run", "t", "theta", "omega", "torque"])
        for run in range(episodes):
            theta, omega = draws.uniform(-3, 3), 0.0
            for k in range(steps):
                torque = draws.uniform(-2, 2)
                wrapped = (theta + np.pi) % (2 * np.pi) - np.pi
                rows.writerow([run, f"{0.05 * k:.2f}", f"{wrapped:.6f}", f"{omega:.6f}", torque])
                omega += 0.05 * (9.81 * np.sin(theta) + 3 * torque)
                theta += 0.05 * omega
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write_pendulum(tmp_path_factory.mktemp("logs") / "log.csv")


COLUMNS = {
    "obs": ["theta", "omega"],
    "action": ["torque"],
    "time": "t",
    "episode": "run",
    "angle": ["theta"],
}


@pytest.fixture(scope="module")
def fitted(log, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "best"
    return mbrl.fit(log, **COLUMNS, dynamics="least_squares,sindy", run_dir=run)


def test_the_best_model_is_saved_with_a_report(fitted):
    names = [each.name for each in fitted.accuracy]
    assert names == ["no change", "least_squares", "sindy"]
    still, linear, sparse = (each.normalized for each in fitted.accuracy)
    assert sparse[0] < 0.1 * linear[0] < linear[0] < still[0]
    summary = json.loads((fitted.run / "summary.json").read_text())
    assert [x["model"] for x in summary["models"]] == names
    assert set(summary["models"][2]["error"]) == {"theta", "omega"}
    page = (fitted.run / "report.html").read_text()
    assert "<b>sindy</b>" in page and page.count("<img") == 3 and "<script" not in page


def test_a_saved_model_is_loaded_and_planned_in(fitted):
    loaded = mbrl.load(fitted.run)
    assert isinstance(loaded.agent, FittedModel)
    model: Any = loaded.agent.dynamics
    assert model.task.obs_names == ("cos(theta)", "sin(theta)", "omega")
    obs = torch.tensor([[1.0, 0.0, 0.0]])
    before = fitted.dynamics.step(fitted.dynamics.initial(obs), torch.ones(1, 1))[1].next_obs
    after = model.step(model.initial(obs), torch.ones(1, 1))[1].next_obs
    assert torch.equal(before, after)
    assert torch.allclose(after[0, 2], torch.tensor(0.15), atol=1e-3)
    planner = CEM(action=loaded._action, horizon=3, num_samples=10, num_iterations=1)
    plan = planner.plan(model.initial(obs), model, generator=0)
    assert plan.actions.shape == (1, 3, 1)
    with pytest.raises(BadInput, match="without a policy"):
        loaded.predict(obs.numpy()[0])


def test_the_same_seed_gives_the_same_model(log, tmp_path):
    runs = [
        mbrl.fit(log, **COLUMNS, run_dir=tmp_path / name, settings=QUICK) for name in ("a", "b")
    ]
    first, second = (run.dynamics.state_dict() for run in runs)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert runs[0].accuracy[1].coverage is not None


def test_settings_are_those_of_every_model_or_of_one(log, tmp_path):
    names = "least_squares,ensemble"
    found = mbrl.fit(
        log, **COLUMNS, dynamics=names, run_dir=tmp_path / "run",
        settings=[x.replace("dynamics", "ensemble") for x in QUICK],
    )  # fmt: skip
    assert [each.name for each in found.accuracy] == ["no change", *names.split(",")]
    with pytest.raises(BadInput, match="sindy.library.degree=3: should be dynamics.KEY=VALUE"):
        mbrl.fit(log, **COLUMNS, dynamics=names, settings=["sindy.library.degree=3"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dynamics": "simulator"}, "dynamics=simulator: is not fitted to logs"),
        ({"dynamics": "sindi"}, "sindi"),
        ({"settings": ["dynamics.hiden=3"]}, "hiden"),
        ({"holdout": 1.5}, "holdout"),
        ({"obs": ["tetha"]}, "tetha"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(log, tmp_path, changes, words):
    with pytest.raises(BadInput, match=words) as raised:
        mbrl.fit(log, **{**COLUMNS, "run_dir": tmp_path / "run", **changes})
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
