"""Descent between linear pieces."""

import numpy as np
import pytest

from mbrl.relu.descent import descend
from mbrl.relu.program import build
from tests.relu.problems import by_enumeration, random_problem, sample
from tests.relu.test_bounds import bound


@pytest.mark.parametrize("seed", range(8))
def test_descent_only_falls_and_stops_where_its_piece_is_best(seed):
    draws = np.random.default_rng(seed)
    problem = random_problem(seed, widths=(4,), horizon=2, hold=1)
    program = build(problem, bound(problem, "crown"))
    starts = sample(problem, 10, draws)
    ends = np.stack([descend(program, x[None], max_lps=200) for x in starts])
    before, after = (problem.simulate(x)[0] for x in (starts, ends))
    assert (after <= before).all() and (after < before - 1e-6).any()
    assert (ends >= problem.action_low).all() and (ends <= problem.action_high).all()
    assert after.min() >= by_enumeration(problem) - 1e-6
    for end, cost in zip(ends, after, strict=True):  # no plan close by is better
        near = end + 1e-6 * draws.normal(size=(200, *end.shape))
        near = np.clip(near, problem.action_low, problem.action_high)
        assert problem.simulate(near)[0].min() >= cost - 1e-8
    assert (descend(program, starts[:1], max_lps=0) == starts[0]).all()
    assert (descend(program, starts, deadline=0.0) == starts[before.argmin()]).all()
    together = descend(program, starts, max_lps=200)
    assert problem.simulate(together[None])[0][0] <= before.min() + 1e-9
