"""CMA-ES finds known optima, whatever the axes; a lost term is made up for as calculus says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.dynamics.sindy.library import polynomial
from mbrl.symbolic.cma_es import CmaEs
from mbrl.symbolic.distillation import ModelReturns, _Search
from tests.toys import ACTION, ToyModel, generator


def climb(earned, mean, iterations, population=16, seed=0):
    found = CmaEs(mean, torch.eye(len(mean)).double(), population, generator(seed))
    for _ in range(iterations):
        found.tell(earned(found.ask()))
    return found


def hill(seed, n=6):
    """Make a concave quadratic with lengths of axes from 1 to 1000, turned; and its parts."""
    draws = generator(seed)
    turn = torch.linalg.qr(torch.randn(n, n, generator=draws, dtype=torch.float64))[0]
    curvature = turn @ torch.logspace(0, 3, n, dtype=torch.float64).diag() @ turn.T
    top = torch.randn(n, generator=draws, dtype=torch.float64)
    return lambda x: -0.5 * (((x - top) @ curvature) * (x - top)).sum(1), top, curvature


@given(st.integers(0, 10_000))
@settings(max_examples=8)
def test_a_turned_ellipsoid_is_climbed_and_its_shape_learned(seed):
    earned, top, curvature = hill(seed)
    found = climb(earned, torch.zeros(6).double(), 150, seed=seed)
    assert (found.mean - top).norm() < 1e-3
    shape = found.covariance @ curvature  # a multiple of the unit matrix once the shape is known
    values = torch.linalg.eigvals(shape).real
    assert values.max() / values.min() < 50  # of 1000


def test_rosenbrocks_valley_is_followed():
    def earned(x):
        return -(100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)

    found = climb(earned, torch.zeros(5).double(), 400)
    torch.testing.assert_close(found.mean, torch.ones(5).double(), atol=1e-3, rtol=0)


def test_only_the_order_of_what_is_earned_counts():
    earned, *_ = hill(0)
    plain, other = (
        climb(f, torch.zeros(6).double(), 20) for f in (earned, lambda x: earned(x).atan())
    )
    assert plain.mean.equal(other.mean) and plain.covariance.equal(other.covariance)


def test_a_longer_mean_is_scaled_down_with_its_spread():
    found = climb(lambda x: x.sum(1), torch.ones(3).double(), 3)
    mean, covariance = found.mean, found.covariance
    found.shrink(1e9)
    assert found.mean.equal(mean)
    found.shrink(0.5)
    assert found.mean.norm().item() == pytest.approx(0.5)
    factor = 0.5 / mean.norm()
    torch.testing.assert_close(found.mean, factor * mean)
    torch.testing.assert_close(found.covariance, factor**2 * covariance)


def test_the_term_missed_least_is_lost_and_the_others_make_up_for_it():
    """With the inverse curvature as covariance: the best point among those without the term."""
    earned, top, curvature = hill(3)
    model_returns = ModelReturns(ToyModel(), torch.zeros(4, 2), 1, 1)
    library = polynomial(range(2), 2)
    search = _Search(library, torch.ones(6).double(), model_returns, ACTION, 8, generator())
    covariance = torch.linalg.inv(curvature)
    begun = CmaEs(top, covariance, 8, generator())
    after, on = search._without_one(begun, torch.arange(6), lambda x, on, starts: earned(x))

    best = []
    for gone in range(6):
        kept = [i for i in range(6) if i != gone]
        rest, pull = curvature[kept][:, kept], curvature[kept] @ top
        point = torch.zeros(6).double()
        point[kept] = torch.linalg.solve(rest, pull)
        best.append(point)
    values = earned(torch.stack(best))
    gone = int(values.argmax())
    assert on.tolist() == [i for i in range(6) if i != gone]
    torch.testing.assert_close(after.mean, best[gone][on])
    inverse = torch.linalg.inv(curvature[on][:, on])
    ratio = after.covariance / inverse  # widened perhaps, of the same shape
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
