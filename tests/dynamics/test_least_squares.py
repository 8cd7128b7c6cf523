"""Least squares equals numpy's, and does not depend on units."""

import numpy as np
import pytest
import torch

from mbrl.dynamics import LeastSquares
from mbrl.types import ActionSpec, Task, Transitions


def data(scale=1.0):
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(300, 3, generator=g).double()
    action = torch.rand(300, 2, generator=g).double() * 2 - 1
    change = torch.tanh(torch.cat([obs, action], 1) @ torch.randn(5, 3, generator=g).double())
    never = torch.zeros(300, dtype=torch.bool)
    rows = [(scale * x).float() for x in (obs, action, obs[:, 0], obs + change)]
    return Transitions(rows[0], rows[1], rows[2], rows[3], never, never, never.long())


def model(rows, **settings):
    action = ActionSpec.box(rows.action.amin(0), rows.action.amax(0))
    found = LeastSquares(obs_dim=3, action=action, task=Task(), **settings)
    found.fit(rows, generator=0)
    return found


@pytest.mark.parametrize("degree", [1, 2])
def test_without_a_ridge_it_equals_numpys_least_squares(degree):
    rows = data()
    x = np.concatenate([rows.obs, rows.action], 1).astype(float)
    parts = [np.ones((300, 1)), x]
    if degree == 2:
        parts.append(np.stack([x[:, i] * x[:, j] for i in range(5) for j in range(i, 5)], 1))
    features = np.concatenate(parts, 1)
    target = np.concatenate([rows.next_obs - rows.obs, rows.reward[:, None]], 1).astype(float)
    expected = features @ np.linalg.lstsq(features, target, rcond=None)[0]
    found = model(rows, degree=degree, ridge=0.0)
    pred = found.step(found.initial(rows.obs), rows.action)[1]
    assert np.allclose(pred.next_obs - rows.obs, expected[:, :3], atol=1e-5)
    assert np.allclose(pred.reward, expected[:, 3], atol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_units_change_nothing(scale):
    rows, scaled = data(), data(scale)
    found, other = model(rows, degree=2), model(scaled, degree=2)
    pred = found.step(found.initial(rows.obs), rows.action)[1].next_obs
    same = other.step(other.initial(scaled.obs), scaled.action)[1].next_obs
    assert torch.allclose(same / scale, pred, rtol=1e-4, atol=1e-5)


def test_a_constant_column_has_no_effect():
    rows = data()
    rows = rows._replace(obs=rows.obs.clone(), next_obs=rows.next_obs.clone())
    rows.obs[:, 1] = rows.next_obs[:, 1] = 3.0
    found = model(rows, degree=2)
    pred = found.step(found.initial(rows.obs), rows.action)[1].next_obs
    assert torch.isfinite(pred).all() and torch.allclose(pred[:, 1], rows.obs[:, 1], atol=1e-5)


def test_samples_have_the_residuals_deviation_and_errors_of_left_out_rows_are_exact():
    rows = data()
    found = model(rows, ridge=0.0)
    obs, action = rows.obs[:1].expand(20_000, -1), rows.action[:1].expand(20_000, -1)
    draws = torch.Generator().manual_seed(0)
    samples = found.step(found.initial(obs), action, generator=draws)[1].next_obs
    mean = found.step(found.initial(rows.obs[:1]), rows.action[:1])[1].next_obs
    expected = found.noise[:3] * (1 + 6 / 300) ** 0.5  # 6 weights of 300 rows
    assert torch.allclose(samples.mean(0), mean[0], atol=0.02)
    assert torch.allclose(samples.std(0).double(), expected, rtol=0.04)
    x = np.concatenate([np.ones((300, 1)), rows.obs, rows.action], 1).astype(float)
    y = np.concatenate([rows.next_obs - rows.obs, rows.reward[:, None]], 1).astype(float)
    errors = []
    for i in range(300):
        kept = np.arange(300) != i
        errors.append(y[i] - x[i] @ np.linalg.lstsq(x[kept], y[kept], rcond=None)[0])
    left_out = (np.array(errors) / y.std(0)).astype(float) ** 2
    other = LeastSquares(
        obs_dim=3, action=ActionSpec.box([-1.0] * 2, [1.0] * 2), task=Task(), ridge=0.0
    )
    metric = other.fit(rows, generator=0)["model/holdout_mse"]
    assert metric == pytest.approx(left_out.mean(), rel=1e-4)
