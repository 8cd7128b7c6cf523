"""Fits, supports and flags are the same in every unit of observations, actions and rewards."""

import pytest
import torch

from mbrl.dynamics import SINDy
from mbrl.types import ActionSpec, Task
from tests.dynamics.sindy.helpers import rows
from tests.toys import generator

UNITS = [1e-4, 1e-2, 1e2, 1e4]


def duffing(count=400, noise=0.01):
    draws = generator(3)
    x, obs, acts = torch.tensor([0.5, 0.0]), [], []
    for t in range(count):
        u = torch.rand(1, generator=draws) * 4 - 2 if t % 5 == 0 else acts[-1]
        obs.append(x)
        acts.append(u)
        for _ in range(10):
            v = x[1] + 0.005 * (-0.3 * x[1] + x[0] - x[0] ** 3 + u[0])
            x = torch.stack([x[0] + 0.005 * v, v])
    path = torch.stack([*obs, x])
    path = path + noise * path.std(0) * torch.randn(path.shape, generator=draws)
    action = torch.stack(acts)
    return path, action, -path[:-1].square().sum(1) - 0.1 * action[:, 0] ** 2


def fitted(units):
    path, action, reward = duffing()
    path, action, reward = path * units[0], action * units[1], reward * units[2]
    bound = float(2 * units[1])
    model = SINDy(obs_dim=2, action=ActionSpec.box([-bound], [bound]), task=Task())
    metrics = model.fit(rows(path[:-1], action, path[1:], reward), generator=1)
    pred = model.step(model.initial(path[:-1]), action)[1]
    error = (pred.next_obs - path[1:]).square().sum(0) / (path[1:] - path[:-1]).square().sum(0)
    unexplained = ((pred.reward - reward) / reward.std()).square().mean()
    return model, metrics, torch.cat([error, unexplained[None]])


@pytest.mark.parametrize(
    "units",
    [
        *[(u, 1.0, 1.0) for u in UNITS],
        *[(1.0, u, 1.0) for u in UNITS],
        *[(1.0, 1.0, u) for u in UNITS],
        *[(u, u, u) for u in UNITS],
    ],
)
def test_a_fit_is_the_same_in_every_unit(units):
    model, metrics, errors = fitted((1.0, 1.0, 1.0))
    other, scaled, others = fitted(units)
    torch.testing.assert_close(others, errors, atol=0.01, rtol=0)
    assert (other.steps.weights != 0).equal(model.steps.weights != 0)
    assert (other.outcome.weights != 0).equal(model.outcome.weights != 0)
    for flag in ("model/stable", "model/worse_than_no_change", "model/terms"):
        assert scaled[flag] == metrics[flag]
    assert other.steps.form.equal(model.steps.form)
