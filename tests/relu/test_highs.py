"""What a solver's answer proves, and small programs solved by hand."""

import numpy as np
import pytest

from mbrl.relu import PiecewiseLinearCost, ReluNetwork, Term, crown, highs
from mbrl.relu.highs import Solution, conclude
from mbrl.relu.program import Problem, build

POINT = np.zeros((2, 1))


def answer(status, bound, actions=POINT, objective=3.0):
    return Solution(status, actions, objective, bound, 7, 0.1)


def test_infeasible_against_a_known_point_is_a_failure_and_proves_nothing():
    """HiGHS gives such answers on badly scaled programs: its bound is then no bound."""
    for bound in (3.0, np.inf, -np.inf):
        result = conclude(answer("infeasible", bound, None, np.inf), known_cost=3.0)
        assert result.status == "failed" and result.lower_bound == -np.inf
        assert result.actions is None and result.objective == np.inf


def test_infeasible_without_a_known_point_stays_so_but_is_no_bound():
    result = conclude(answer("infeasible", np.inf, None, np.inf), known_cost=None)
    assert result.status == "infeasible" and result.lower_bound == -np.inf


def test_a_bound_above_the_cost_of_a_known_point_is_a_failure():
    result = conclude(answer("optimal", 3.0), known_cost=2.0)
    assert result.status == "failed" and result.lower_bound == -np.inf and result.actions is None
    rounding = conclude(answer("optimal", 3.0), known_cost=3.0 - 1e-7)
    assert rounding.status == "optimal" and rounding.lower_bound == 3.0


@pytest.mark.parametrize("status", ["optimal", "node_limit", "time_limit"])
def test_any_other_answer_is_taken_as_it_is(status):
    assert conclude(answer(status, 2.5), known_cost=4.0) == answer(status, 2.5)
    assert conclude(answer(status, np.nan), known_cost=4.0).lower_bound == -np.inf


def point_mass() -> Problem:
    """x' = x + u from 0, |u| <= 1, charged |x' - 3| after each of two steps: 2 + 1."""
    network = ReluNetwork((), np.array([[1.0, 1.0]]), np.zeros(1), 1)
    cost = PiecewiseLinearCost((Term("l1", np.array([[1.0, 0.0]]), np.array([-3.0])),))
    return Problem(network, cost, np.zeros(1), -np.ones((2, 1)), np.ones((2, 1)))


def program():
    problem = point_mass()
    limits = crown(problem.network, problem.obs, problem.action_low, problem.action_high)
    return build(problem, limits)


def test_a_linear_program_is_solved_to_its_optimum():
    result = highs.solve(program())
    assert result.status == "optimal" and result.nodes == 0
    assert result.objective == pytest.approx(3.0) and result.lower_bound == pytest.approx(3.0)
    np.testing.assert_allclose(result.actions, np.ones((2, 1)), atol=1e-7)
    assert highs.relaxed_bound(program()) == pytest.approx(3.0, abs=1e-6)


def test_a_program_without_a_point_has_no_relaxed_bound():
    nothing = program()._replace(row_low=program().row_low + 100, row_high=program().row_high + 100)
    assert highs.solve(nothing).status == "infeasible"
    assert highs.relaxed_bound(nothing) == -np.inf
