"""Monomials are complete, and whitened ones are uncorrelated."""

from itertools import combinations_with_replacement

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.dynamics.transition_filter.polynomials import (
    WhitenedMonomials,
    highest_degree,
    monomials,
    num_monomials,
)
from tests.toys import generator


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 1000))
def test_monomials_are_all_products(variables, degree, seed):
    z = torch.randn(7, variables, generator=generator(seed), dtype=torch.float64)
    result = monomials(z, degree)
    expected = [
        torch.stack([z[:, v] for v in term], 1).prod(1) if term else torch.ones(7).double()
        for d in range(degree + 1)
        for term in combinations_with_replacement(range(variables), d)
    ]
    assert result.shape[1] == num_monomials(variables, degree) == len(expected)
    a, b = (torch.sort(x, 1).values for x in (result, torch.stack(expected, 1)))
    torch.testing.assert_close(a, b)


def test_monomials_of_two_variables():
    z = torch.tensor([[2.0, 3.0]])
    assert sorted(monomials(z, 2)[0].tolist()) == [1, 2, 3, 4, 6, 9]
    assert monomials(z, 2)[0, 0] == 1


def test_the_degree_falls_until_the_monomials_are_few_enough():
    assert num_monomials(3, 2) == 10
    assert highest_degree(3, 4, 10) == 2 and highest_degree(3, 4, 9) == 1
    assert highest_degree(3, 2, 1000) == 2
    assert highest_degree(3, 4, 1) == 1  # never below


def test_whitened_monomials_are_uncorrelated_with_variance_one():
    features = WhitenedMonomials(2, degree=2, floor=1e-8)
    assert features.size == 5  # without the constant
    z = torch.randn(2000, 2, generator=generator(1))
    features.fit(z)
    phi = features(z)
    torch.testing.assert_close(phi.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(phi.T @ phi / len(phi), torch.eye(5), atol=1e-3, rtol=0)
    assert features(z.view(4, 500, 2)).view(2000, 5).equal(phi)


def test_a_direction_without_variance_stays_finite():
    features = WhitenedMonomials(2, degree=1, floor=1e-4)
    z = torch.randn(100, 1, generator=generator(1)).expand(-1, 2)
    features.fit(z)
    assert features(z).var(0, correction=0).sum() < 1.01  # one direction, not two
