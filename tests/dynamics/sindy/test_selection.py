"""Terms are selected by held-out errors: exact where they can be, never worse than all terms."""

import numpy as np
import pytest

from mbrl.dynamics.sindy.selection import (
    LEVELS,
    Regression,
    choose_levels,
    independent,
    least_squares,
    resample,
    supports,
)


def regression(x, y):
    shape = y.shape[1], x.shape[1]
    return Regression(x, y, np.ones(shape, bool), np.zeros(y.shape[1]))


def fit(problem):
    mask = supports(problem, choose_levels(problem))
    return mask, least_squares(problem, mask)


@pytest.mark.parametrize("rows", [30, 200, 2000])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_true_terms_are_selected_and_no_others(rows, noise):
    draws = np.random.default_rng(rows)
    x = draws.normal(size=(rows, 20))
    y = np.stack([x[:, 3] - 0.5 * x[:, 7], 2 * x[:, 0]], 1) + noise * draws.normal(size=(rows, 2))
    mask, weights = fit(regression(x, y))
    assert [np.flatnonzero(row).tolist() for row in mask] == [[3, 7], [0]]
    np.testing.assert_allclose(weights[0, [3, 7]], [1, -0.5], atol=5 * noise / rows**0.5 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_an_exact_equation_does_not_stand_at_the_edge_of_rounding(seed):
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(400, 12))
    y = (x[:, [3]] - 0.1 * x[:, [7]]).astype(np.float32).astype(float)
    problem = regression(x, y)._replace(floor=np.array([1.4e-14]))
    levels = choose_levels(problem)
    for shift in (-2, 0, 2):
        assert np.flatnonzero(supports(problem, levels + shift)).tolist() == [3, 7]


def test_nearly_dependent_terms_that_cancel_are_as_good_as_least_squares():
    draws = np.random.default_rng(0)
    base = draws.normal(size=(600, 6))
    x = np.hstack([base, base @ draws.normal(size=(6, 6)) + 1e-3 * draws.normal(size=(600, 6))])
    y = x @ draws.normal(size=(12, 1)) * 20 + 0.1 * draws.normal(size=(600, 1))
    train, test = regression(x[:400], y[:400]), slice(400, 600)
    _, weights = fit(train)
    dense = np.linalg.lstsq(x[:400], y[:400], rcond=None)[0]
    errors = [((x[test] @ w - y[test]) ** 2).mean() ** 0.5 for w in (weights.T, dense)]
    assert errors[0] <= 1.1 * errors[1]


@pytest.mark.parametrize("seed", range(5))
def test_terms_that_stand_for_each_other_do_not_go_together(seed):
    draws = np.random.default_rng(seed)
    base = draws.normal(size=(500, 40))
    x = np.hstack([base, base + 0.03 * draws.normal(size=base.shape)])
    y = base @ draws.normal(size=(40, 1)) + 0.5 * draws.normal(size=(500, 1))
    problem = regression(x, y)
    errors, counts = [], []
    for level in range(len(LEVELS) - 1):
        mask = supports(problem, np.array([level]))
        errors.append(((y - x @ least_squares(problem, mask).T) ** 2).mean())
        counts.append(mask.sum())
    for level in range(1, len(errors)):
        gone = counts[level - 1] - counts[level]
        free = 500 - counts[level - 1]
        assert errors[level] <= errors[level - 1] * (1 + LEVELS[level] ** 2 / free) ** gone


@pytest.mark.parametrize("seed", range(10))
def test_one_row_does_not_remove_a_term_that_most_rows_need(seed):
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(1500, 3))
    y = x[:, [0]] + 0.05 * x[:, [1]] + 0.05 * draws.normal(size=(1500, 1))
    x[draws.integers(1500), 1] = 30.0  # as of a contact, where the term is wrong
    mask, _ = fit(regression(x, y))
    assert mask[0, :2].all()


def test_a_target_of_noise_keeps_no_term():
    draws = np.random.default_rng(1)
    mask, _ = fit(regression(draws.normal(size=(500, 10)), draws.normal(size=(500, 1))))
    assert not mask.any()


def test_of_dependent_columns_the_first_stays():
    x = np.random.default_rng(2).normal(size=(50, 3))
    x = np.column_stack([x[:, 0], 2 * x[:, 0], np.zeros(50), x[:, 1], x[:, 0] - x[:, 1], x[:, 2]])
    assert independent(x.T @ x, np.arange(6)).tolist() == [0, 3, 5]


def test_members_vary_like_the_estimate():
    draws = np.random.default_rng(3)
    x = draws.normal(size=(300, 2)) * [1.0, 3.0]
    weights = []
    for _ in range(200):
        y = x @ [[1.0], [2.0]] + 0.5 * draws.normal(size=(300, 1))
        weights.append(np.linalg.lstsq(x, y, rcond=None)[0][:, 0])
    problem = regression(x, y)
    own = least_squares(problem, np.ones((1, 2), bool))
    signs = draws.choice([-1.0, 1.0], size=(400, 300))
    members = resample(problem, own, signs, 1)[:, 0]
    np.testing.assert_allclose(members.std(0), np.std(weights, 0), rtol=0.2)
    np.testing.assert_allclose(members.mean(0), own[0], atol=0.01)
