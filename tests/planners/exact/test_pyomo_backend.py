"""The readable program: the optimum of the arrays' program, and its answers by hand."""

import numpy as np
import pytest

from mbrl.planners.exact import pyomo_backend
from mbrl.relu import Layer, PiecewiseLinearCost, ReluNetwork, Term, crown, highs
from mbrl.relu.program import Problem, build
from tests.relu.problems import random_problem
from tests.relu.test_bounds import bound
from tests.relu.test_program import resimulated


def alike(seed):
    problem = random_problem(seed, widths=((4,), (3, 2), (6,))[seed % 3], horizon=2 + seed % 2)
    limits = bound(problem, "crown")
    direct = highs.solve(build(problem, limits))
    reference = pyomo_backend.solve(problem, limits)
    assert direct.status == reference.status == "optimal"
    assert abs(direct.objective - reference.objective) <= 1e-6 * max(1, abs(direct.objective))
    again = resimulated(problem, reference.actions)
    assert abs(again - direct.objective) <= 1e-5 * max(1, abs(direct.objective))


@pytest.mark.parametrize("seed", range(12))
def test_pyomo_gives_the_same_optimum(seed):
    alike(seed)


@pytest.mark.slow
def test_pyomo_gives_the_same_optimum_on_100_problems():
    for seed in range(100):
        alike(seed)


def hinge_of(low, high, obs=0.0, kind="l1", **options):
    """The next x is relu(x + u); the cost is |x' - 0.6|, and 0.05 u."""
    layer = Layer(np.array([[1.0, 1]]), np.zeros(1), np.full(1, 2, np.int8))
    network = ReluNetwork((layer,), np.array([[0.0, 0, 1]]), np.zeros(1), 1)
    terms = (
        Term(kind, np.array([[1.0, 0]]), np.array([-0.6])),
        Term("linear", np.array([[0.0, 0.05]]), np.zeros(1)),
    )
    actions = np.array([[low]]), np.array([[high]])
    problem = Problem(network, PiecewiseLinearCost(terms), np.array([obs]), *actions, **options)
    return problem, crown(network, problem.obs, *(problem.held(x) for x in actions))


@pytest.mark.parametrize("kind", ["l1", "linf"])
@pytest.mark.parametrize(
    ("low", "high", "options", "action", "cost"),
    [
        (-1.0, 1.0, {}, 0.6, 0.03),
        (-1.0, 1.0, {"integer": (0,)}, 1, 0.45),
        (-1.0, 0.4, {}, 0.4, 0.22),
        (-1.0, -0.2, {}, -1, 0.55),  # the neuron is off
        (0.7, 1.0, {}, 0.7, 0.135),  # the neuron is on
    ],
)
def test_plans_of_one_step_by_hand(kind, low, high, options, action, cost):
    problem, limits = hinge_of(low, high, kind=kind, **options)
    answer = pyomo_backend.solve(problem, limits)
    assert answer.status == "optimal" and answer.actions is not None
    np.testing.assert_allclose(answer.actions, [[action]], atol=1e-6)
    assert answer.objective == pytest.approx(cost, abs=1e-6)
    # below the cost by what the solver's tolerances leave open
    assert cost - 1e-5 < answer.lower_bound <= answer.objective


def test_held_and_discounted_steps_by_hand():
    """u is held for two steps from x = -1: x is relu(-1 + u), then relu(relu(-1 + u) + u)."""
    problem, _ = hinge_of(0.0, 1.0, obs=-1.0, hold=2, discount=0.5)
    limits = bound(problem, "crown")
    answer = pyomo_backend.solve(problem, limits)
    assert answer.actions is not None
    np.testing.assert_allclose(answer.actions, [[0.6]], atol=1e-6)  # x is 0, then 0.6
    np.testing.assert_allclose(answer.objective, 0.6 + 0.03 + 0.5 * 0.03, atol=1e-6)


@pytest.mark.parametrize(("target", "choice", "cost"), [(2.4, [1, 0], 0.4), (5.0, [0, 1], 2.0)])
def test_one_action_of_several_is_chosen(target, choice, cost):
    """The next x is 2 u0 + 3 u1: a mixture would reach 2.4, both together 5."""
    network = ReluNetwork((), np.array([[0.0, 2, 3]]), np.zeros(1), 1)
    term = Term("l1", np.array([[1.0, 0, 0]]), np.array([-target]))
    actions = np.zeros((1, 2)), np.ones((1, 2))
    problem = Problem(network, PiecewiseLinearCost((term,)), np.zeros(1), *actions, one_hot=True)
    answer = pyomo_backend.solve(problem, bound(problem, "crown"))
    assert answer.actions is not None and abs(answer.objective - cost) < 1e-6
    np.testing.assert_allclose(answer.actions, [choice], atol=1e-6)


def test_binaries_are_free_where_a_neuron_may_be_on_either_side():
    for low, high, value in ((-1.0, 1.0, None), (-1.0, -0.2, 0), (0.7, 1.0, 1)):
        model = pyomo_backend.write(*hinge_of(low, high))
        assert model.d[0, 0].fixed == (value is not None)
        assert value is None or model.d[0, 0].value == value
        assert model.x[0, 0].fixed and model.u[0, 0].bounds == (low, high)


def test_an_answer_that_contradicts_a_known_plan_is_a_failure():
    problem, limits = hinge_of(-1.0, 1.0)
    assert pyomo_backend.solve(problem, limits, known_cost=0.03).status == "optimal"
    answer = pyomo_backend.solve(problem, limits, known_cost=-1.0)
    assert answer.status == "failed" and answer.actions is None
    assert answer.objective == np.inf and answer.lower_bound == -np.inf


def test_a_program_without_a_plan_and_one_without_time_have_no_actions():
    problem, limits = hinge_of(-1.0, 1.0)
    empty = pyomo_backend.solve(problem, limits._replace(out_low=limits.out_high + 1.0))
    assert empty.status in ("infeasible", "failed") and empty.actions is None
    problem = random_problem(2, widths=(8, 8), horizon=4)
    late = pyomo_backend.solve(problem, bound(problem, "crown"), time_limit=0.0)
    assert late.actions is None and late.status in ("time_limit", "failed")
