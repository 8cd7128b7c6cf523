"""The model error against a known drift, and the report as a self-contained file."""

import json

import pytest
import torch

from mbrl.report import ModelError, k_step_error, write_report
from mbrl.types import Prediction
from tests.toys import ToyEnv, ToyModel, collect, move


def test_the_true_model_has_no_error_and_no_change_has_the_known_one():
    data = collect(ToyEnv(4), 60).all()
    error = k_step_error(ToyModel(), data, horizon=5)
    assert error is not None and error.num_sequences > 100
    assert error.model.max() < 1e-5
    # one step of no change is the spread of the changes themselves
    from mbrl.types import sequences

    rows = sequences(data, 5)[:, 0]
    scale = data.obs.std(0)
    change = ((data.next_obs - data.obs)[rows] / scale).square().mean().sqrt()
    assert error.no_change[0].item() == pytest.approx(change.item(), rel=1e-5)


def test_a_drifting_model_is_off_by_its_drift():
    class Drifting(ToyModel):
        def step(self, state, action, *, generator=None, with_uncertainty=False):
            after = move(state[:, :2], action)
            steps = state[:, 2:] + 1
            shown = after + 0.1 * steps * scale
            flag = torch.ones(after.shape[0], dtype=torch.bool)
            return torch.cat([after, steps], 1), Prediction(shown, flag.float(), ~flag, flag, None)

        def initial(self, obs, *, num_particles=1, generator=None):
            return torch.cat([obs, torch.zeros_like(obs[:, :1])], 1)

    data = collect(ToyEnv(4), 60).all()
    scale = data.obs.std(0)
    error = k_step_error(Drifting(), data, horizon=3)
    assert error is not None
    assert error.model.tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-4)


def test_too_short_episodes_give_no_error_curve():
    assert k_step_error(ToyModel(), collect(ToyEnv(2), 5).all(), horizon=6) is None


def test_the_report_holds_every_number_and_loads_nothing(tmp_path):
    rows = [{"step": s, "model/holdout_mse": 0.5 / s, "rollout/ep_rew_mean": s} for s in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    summary = {
        "step": 20, "time/cpu_seconds": 12.0, "time/wall_seconds": 13.0,
        "evaluations": [{"step": 10, "rewards": [1.0, 3.0]}, {"step": 20, "rewards": [5.0, 6.0]}],
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "versions.json").write_text(json.dumps({"torch": "2.13.0"}))
    config = {"choices": {"agent": "mbpo", "env": "<toy>"}, "seed": 3, "device": "cpu"}
    error = ModelError(torch.tensor([0.01, 0.02]), torch.tensor([0.3, 0.6]), 50)
    path = write_report(tmp_path, config, {"mbpo": [5.0, 6.0], "random": [-1.0, -3.0]}, error)
    page = path.read_text()
    for text in ("mbpo on &lt;toy&gt;, seed 3", "<b>5.5</b>", "-2.0", "0.0200", "2.13.0"):
        assert text in page, text
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page and "<script" not in page
