"""What a solver's answer proves, and small programs solved by hand."""

import numpy as np
import pytest

from mbrl.relu import PiecewiseLinearCost, ReluNetwork, Term, crown, highs
from mbrl.relu.highs import Answer, conclude
from mbrl.relu.program import Problem, build


def answer(status, bound, actions=None, room=1e-4):
    return Answer(status, actions, bound, room, 7, 0.1, "as it says")


def point_mass() -> Problem:
    """x' = x + u from 0, |u| <= 1, charged |x' - 3| after each of two steps: 2 + 1."""
    network = ReluNetwork((), np.array([[1.0, 1.0]]), np.zeros(1), 1)
    cost = PiecewiseLinearCost((Term("l1", np.array([[1.0, 0.0]]), np.array([-3.0])),))
    return Problem(network, cost, np.zeros(1), -np.ones((2, 1)), np.ones((2, 1)))


BEST, WORSE = np.ones((2, 1)), np.array([[1.0], [0.0]])  # cost 3 and 4


@pytest.mark.parametrize("bound", [3.0, np.inf, -np.inf])
def test_infeasible_against_a_known_plan_is_a_failure_and_proves_nothing(bound):
    """HiGHS gives such answers on badly scaled programs: its bound is then no bound."""
    result = conclude(point_mass(), answer("infeasible", bound), known_cost=3.0)
    assert result.status == "failed" and result.lower_bound == -np.inf
    assert result.actions is None and result.objective == np.inf
    assert result.reason == "as it says"


def test_infeasible_without_a_known_plan_stays_so_but_is_no_bound():
    result = conclude(point_mass(), answer("infeasible", np.inf), known_cost=None)
    assert result.status == "infeasible" and result.lower_bound == -np.inf


def test_a_bound_above_the_cost_of_a_plan_is_a_failure():
    """Whether the plan was known before or is the solver's own."""
    for known, actions in ((2.0, BEST), (None, BEST)):
        result = conclude(point_mass(), answer("optimal", 3.02, actions), known)
        assert result.status == "failed" and result.lower_bound == -np.inf
        assert result.actions is None
    inside = conclude(point_mass(), answer("optimal", 3.00005, BEST), known_cost=None)
    assert inside.status == "optimal" and inside.lower_bound == pytest.approx(2.99995)


@pytest.mark.parametrize("status", ["optimal", "node_limit", "time_limit"])
def test_other_answers_lose_the_solvers_tolerance_and_their_plans_are_simulated(status):
    result = conclude(point_mass(), answer(status, 3.0, BEST), known_cost=4.0)
    assert result[:5] == (status, result.actions, 3.0, 2.9999, 7)
    assert conclude(point_mass(), answer(status, np.nan, BEST), 4.0).lower_bound == -np.inf


def test_an_optimum_that_no_plan_reaches_is_imprecise():
    for known, actions in ((4.0, WORSE), (None, WORSE), (4.0, None)):
        result = conclude(point_mass(), answer("optimal", 3.0, actions), known)
        assert result.status == "imprecise" and result.lower_bound == pytest.approx(2.9999)
    assert conclude(point_mass(), answer("node_limit", 3.0, WORSE), 4.0).status == "node_limit"


def test_plans_of_a_solver_are_moved_to_what_is_allowed():
    outside = conclude(point_mass(), answer("optimal", 3.0, BEST + 1e-6), None)
    assert outside.actions is not None and (outside.actions == BEST).all()
    whole = point_mass()._replace(integer=(0,))
    assert conclude(whole, answer("optimal", 3.0, 0.9 * BEST), None).objective == 3
    choice = np.array([[0.2, 0.8], [0.7, 0.3]])
    picked = whole._replace(one_hot=True, integer=()).nearest_plan(choice)
    assert picked.tolist() == [[0, 1], [1, 0]]


def test_another_user_of_highs_does_not_end_our_solves_nor_we_theirs():
    """HiGHS keeps a scheduler a thread, with the first number of threads that it was given."""
    import highspy

    def theirs(threads):
        other = highs.make({"threads": threads})
        lp = highspy.HighsLp()
        lp.num_col_, lp.col_cost_ = 1, np.ones(1)
        lp.col_lower_, lp.col_upper_ = np.zeros(1), np.ones(1)
        other.passModel(lp)
        return other.run() == highspy.HighsStatus.kOk

    alone = highs.apart(theirs)
    assert highs.solve(program()).status == "optimal"
    assert alone(2) and alone(1)  # each in a thread of its own
    mine = highs.apart(lambda: (theirs(2), theirs(1)))
    assert mine() == (True, False)  # what would happen in one thread
    first = highs.apart(lambda: (theirs(2), highs.solve(program()).status))
    assert first() == (True, "failed")  # nested calls stay in their thread


def test_faults_in_the_thread_reach_the_caller():
    def fault():
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        highs.apart(fault)()


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
