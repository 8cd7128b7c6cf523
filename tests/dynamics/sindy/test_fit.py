"""Sparse regression against PySINDy's STLSQ, and on systems whose equations are known."""

import warnings

import numpy as np
import pysindy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from mbrl.dynamics.sindy.fit import (
    Problem,
    affordable,
    bags,
    distinguishable,
    drop_terms,
    fit_members,
    moments,
    stlsq,
)
from mbrl.dynamics.sindy.library import polynomial
from tests.toys import generator


def ours(x, y, **settings):
    data = moments(torch.from_numpy(x), torch.from_numpy(y))
    return stlsq(data, **settings)[0].numpy()


def theirs(x, y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pysindy.STLSQ(**settings).fit(x, y).coef_


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.sampled_from([0.0, 1e-5, 0.5]),
    st.booleans(),
)
def test_equals_pysindy(seed, threshold, alpha, unbias):
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(60, 9)) * draws.uniform(0.3, 3, size=9)
    weights = draws.normal(size=(9, 3)) * (draws.random((9, 3)) < 0.5)
    y = x @ weights + 0.05 * draws.normal(size=(60, 3))
    given = {"threshold": threshold, "alpha": alpha, "unbias": unbias}
    expected = theirs(x, y, **given)
    found = ours(x, y, **given)
    assert ((found != 0) == (expected != 0)).all()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def lorenz(t, s):
    return [10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]]


def van_der_pol(t, s):
    return [s[1], 2 * (1 - s[0] ** 2) * s[1] - s[0]]


def pendulum(t, s):  # cos, sin, speed; unforced
    return [-s[1] * s[2], s[0] * s[2], 15 * s[1]]


@pytest.mark.parametrize(
    ("system", "start", "degree", "true_terms"),
    [
        (lorenz, [-8, 8, 27], 2, 7),
        (van_der_pol, [2, 0], 3, 4),
        (pendulum, [-1, 1e-3, 2], 2, 3),
    ],
)
def test_finds_the_support_that_pysindy_finds(system, start, degree, true_terms):
    times = np.arange(0, 10, 0.01)
    states = solve_ivp(system, (0, 10), start, t_eval=times, rtol=1e-10, atol=1e-12).y.T
    rates = np.array([system(0, s) for s in states])
    library = polynomial(range(states.shape[1]), degree)
    features = library.evaluate(list(torch.from_numpy(states).T)).numpy()
    reference = pysindy.PolynomialLibrary(degree).fit_transform(states)
    np.testing.assert_allclose(features, reference, rtol=1e-12)
    given = {"threshold": 0.1, "alpha": 1e-6}
    found, expected = ours(features, rates, **given), theirs(features, rates, **given)
    assert ((found != 0) == (expected != 0)).all() and (found != 0).sum() == true_terms
    np.testing.assert_allclose(found, expected, atol=1e-7)
    if system is lorenz:
        names = library.names("xyz")
        sparse = [{n: c for n, c in zip(names, row, strict=True) if c} for row in found]
        assert sparse[0] == pytest.approx({"x": -10, "y": 10}, abs=1e-3)
        assert sparse[1] == pytest.approx({"x": 28, "y": -1, "x z": -1}, abs=1e-3)
        assert sparse[2] == pytest.approx({"z": -8 / 3, "x y": 1}, abs=1e-3)


def test_a_bag_is_a_weighting():
    draws = np.random.default_rng(3)
    x, y = draws.normal(size=(40, 5)), draws.normal(size=(40, 2))
    weights = bags(40, 3, generator=generator(1))
    assert weights.shape == (3, 40) and (weights.sum(1) == 40).all()
    data = moments(torch.from_numpy(x), torch.from_numpy(y), weights)
    together = stlsq(data, threshold=0.05, alpha=1e-3).numpy()
    for member, w in enumerate(weights):
        rows = np.repeat(np.arange(40), w.long().numpy())
        alone = theirs(x[rows], y[rows], threshold=0.05, alpha=1e-3)
        np.testing.assert_allclose(together[member], alone, atol=1e-9)


def test_the_ensemble_is_pysindys_in_distribution():
    draws = np.random.default_rng(4)
    x = draws.normal(size=(300, 6))
    y = x[:, :2] @ np.array([[1.0, -0.5], [0.7, 0.0]]) + 0.1 * draws.normal(size=(300, 2))
    np.random.seed(0)
    reference = pysindy.EnsembleOptimizer(
        pysindy.STLSQ(threshold=0.1, alpha=1e-5), bagging=True, n_models=200
    ).fit(x, y)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    found, _ = fit_members(
        Problem(*tensors, torch.ones(2, 6, dtype=torch.bool)),
        members=200,
        threshold=0.1,
        alpha=1e-5,
        normalize=False,
        weights=bags(300, 200, generator=generator(0)),
    )
    members = np.array(reference.coef_list)
    np.testing.assert_allclose(found.mean(0), members.mean(0), atol=3e-3)
    np.testing.assert_allclose(found.std(0), members.std(0), atol=3e-3)


def test_elites_are_the_best_equations_of_each_target():
    draws = np.random.default_rng(9)
    x = torch.from_numpy(draws.normal(size=(100, 4)))
    y = x[:, :2] @ torch.tensor([[1.0, 0.0], [0.5, 2.0]], dtype=torch.float64)
    problem = Problem(x, y, torch.ones(2, 4, dtype=torch.bool))
    given = {
        "members": 40,
        "threshold": 0.01,
        "alpha": 1e-6,
        "normalize": True,
        "num_dropped_terms": 1,
    }
    everyone, _ = fit_members(problem, generator=generator(1), **given)
    wrong = (everyone - everyone.median(0).values).abs().amax(-1) > 0.1
    assert wrong.any(0).all()  # some have lost a term they need
    elites, _ = fit_members(problem, elites=10, generator=generator(1), **given)
    expected = torch.tensor([[1.0, 0.5, 0, 0], [0, 2.0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(elites, expected.expand(10, 2, 4), atol=1e-6, rtol=0)


def test_each_member_loses_its_own_terms():
    allowed = torch.tensor([True, False, True, True, True])
    masks = drop_terms(allowed, 50, 2, generator=generator(2))
    assert (masks.sum(1) == 2).all() and not masks[:, 1].any()
    assert len({tuple(m.tolist()) for m in masks}) == 6  # every pair of the four


def test_thresholds_are_free_of_units_when_normalised():
    draws = np.random.default_rng(5)
    x = torch.from_numpy(draws.normal(size=(200, 4)))
    y = x[:, :1] * 2 + 0.001 * x[:, 1:2]
    allowed = torch.ones(1, 4, dtype=torch.bool)
    given = {"members": 1, "threshold": 0.01, "alpha": 1e-6, "normalize": True}
    units = torch.tensor([1e-3, 10.0, 1e4, 1.0], dtype=torch.float64)
    plain, _ = fit_members(Problem(x, y, allowed), **given)
    scaled, _ = fit_members(Problem(x * units, y * 1e5, allowed), **given)
    assert (plain[0, 0] != 0).tolist() == [True, False, False, False]
    torch.testing.assert_close(scaled[0, 0] * units / 1e5, plain[0, 0])


def test_of_dependent_columns_the_first_stays():
    draws = torch.from_numpy(np.random.default_rng(6).normal(size=(50, 3)))
    ones, zeros = torch.ones(50, 1), torch.zeros(50, 1)
    columns = [ones, draws[:, :1], 3 * ones, zeros, draws[:, :1] - 2 * ones, draws[:, 1:2]]
    x = torch.cat([c.double() for c in columns], 1)
    assert distinguishable(x.T @ x).tolist() == [True, True, False, False, False, True]


def test_dependent_columns_get_the_least_norm_like_least_squares():
    draws = np.random.default_rng(7)
    x = draws.normal(size=(30, 3))
    x = np.column_stack([x, x[:, 0]])  # a column twice
    y = x[:, :1] * 2.0
    found = ours(x, y, threshold=0.01, alpha=0.0, unbias=False)
    np.testing.assert_allclose(found[0], np.linalg.lstsq(x, y, rcond=None)[0][:, 0], atol=1e-6)


def test_whole_degrees_wait_for_rows():
    degrees = torch.tensor([0, 1, 1, 2, 2, 2, 3])
    assert affordable(degrees, 2).tolist() == [True] * 3 + [False] * 4  # linear ones always
    assert affordable(degrees, 6.5).tolist() == [True] * 6 + [False]
    assert affordable(degrees, 7).all()


def test_all_terms_may_fall():
    x = np.random.default_rng(8).normal(size=(30, 3))
    assert (ours(x, 1e-3 * x[:, :1], threshold=0.1) == 0).all()
