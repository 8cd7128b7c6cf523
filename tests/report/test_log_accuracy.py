"""Accuracy of models of recorded runs: known answers."""

import math

import numpy as np
import pytest
import torch

from mbrl.data.logs.encoding import AngleEncoding
from mbrl.data.logs.split import recorded_data
from mbrl.dynamics import LeastSquares
from mbrl.dynamics.base import Belief, MarkovDynamics, complete_prediction
from mbrl.report.log_accuracy import (
    break_even_text,
    measure,
    measure_persistence,
    remarks,
    table_lines,
)

A, B = np.array([[0.9, 0.2], [-0.3, 0.8]]), np.array([[0.0], [0.5]])


def system(noise=0.0, episodes=10, steps=80):
    """Record a linear system of a position and a velocity."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(episodes):
        action = draws.uniform(-1, 1, (steps, 1))
        rows = [draws.normal(size=2)]
        for u in action:
            rows.append(A @ rows[-1] + B @ u + noise * draws.normal(size=2))
        found.append((np.array(rows), action))
    return recorded_data(found, AngleEncoding(("x", "v")))


class Scaled(MarkovDynamics):
    """The true system, its matrix scaled, with noise."""

    def __init__(self, data, scale=1.0, noise=0.0):
        super().__init__()
        self.obs_dim, self.act_dim, self.task = 2, 1, data.task
        self._scale, self._noise = scale, noise

    def fit(self, data, *, generator):
        return {}

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        next_obs = self._scale * state.obs @ torch.tensor(A.T).float()
        next_obs = next_obs + action @ torch.tensor(B.T).float()
        if generator is not None:
            next_obs = next_obs + self._noise * torch.randn(next_obs.shape, generator=generator)
        pred = complete_prediction(self.task, state.obs, action, next_obs)
        return Belief(pred.next_obs, state.members), pred


def test_least_squares_finds_a_linear_system():
    data = system()
    model = LeastSquares(obs_dim=2, action=data.action, task=data.task)
    found = measure("linear", model, data, fit=lambda rows: model.fit(rows, generator=0))
    assert found.horizons == (1, 5, 10, 20, 50)
    assert found.normalized.max() < 1e-4
    assert found.break_even == (None, None, None)
    assert break_even_text(found) == "> 50"


def test_squares_find_a_quadratic_system_that_a_linear_model_misses():
    draws = np.random.default_rng(0)
    runs = []
    for _ in range(6):
        action = draws.uniform(-1, 1, (60, 1))
        rows = [draws.normal(size=1)]
        for u in action:
            rows.append(rows[-1] + 0.3 * (u - rows[-1] + u * rows[-1]))
        runs.append((np.array(rows), action))
    data = recorded_data(runs, AngleEncoding(("x",)))
    errors = {}
    for degree in (1, 2):
        model = LeastSquares(obs_dim=1, action=data.action, task=data.task, degree=degree)
        fit = model.fit
        found = measure("", model, data, fit=lambda rows, fit=fit: fit(rows, generator=0))
        errors[degree] = found.normalized[-1]
    assert errors[2] < 1e-3 < 0.05 < errors[1]


def test_persistence_has_the_error_of_standing_still():
    data = system()
    found = measure_persistence(data)
    rows = data.held.obs.double()
    starts = data.held.obs.double()
    one = data.held.next_obs.double() - starts
    last = [i for i in range(len(rows)) if i % 80 <= 80 - 50]  # windows of 50 steps
    assert torch.allclose(found.error[0], one[last].square().mean(0).sqrt())


def test_a_model_that_diverges_breaks_even_where_its_error_passes_that_of_no_change():
    data = system()
    found = measure("steep", Scaled(data, scale=1.25), data)
    still = measure_persistence(data)
    step, low, high = found.break_even
    assert step is not None and low is not None and high is not None and low <= step <= high
    assert found.curve[step - 1] >= still.curve[step - 1]
    assert found.curve[step - 2] < still.curve[step - 2]
    words = remarks([still, found])
    assert words and "steep: worse than predicting no change after" in words[0]


def test_intervals_of_the_true_noise_hold_their_share_and_narrow_ones_are_named():
    data = system(noise=0.1, episodes=40)
    right = measure("right", Scaled(data, noise=0.1), data)
    assert right.coverage == pytest.approx((0.68, 0.95), abs=0.025)
    narrow = measure("narrow", Scaled(data, noise=0.03), data)
    assert narrow.coverage is not None and narrow.coverage[1] < 0.6
    assert any("surer than it should be" in x for x in remarks([measure_persistence(data), narrow]))


def test_an_angle_that_wraps_is_compared_the_shorter_way():
    step = 0.2
    angle = np.arange(200)[:, None] * step
    runs = [(angle + start, np.full((199, 1), 1.0) + 1e-3 * (i % 2)) for i, start in
            enumerate((0.0, 1.0, 2.0, 3.0))]  # fmt: skip
    data = recorded_data(runs, AngleEncoding(("angle",), (0,)))
    found = measure_persistence(data)
    assert found.error[0, 0].item() == pytest.approx(step, rel=1e-4)
    assert found.error[1, 0].item() == pytest.approx(5 * step, rel=1e-4)
    assert found.error.max() <= math.pi


def test_the_table_has_a_line_for_each_model():
    data = system()
    lines = table_lines([measure_persistence(data), measure("true", Scaled(data), data)])
    assert len(lines) == 3 and lines[1].startswith("no change") and "> 50" in lines[2]
