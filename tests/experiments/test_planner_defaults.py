"""The study of planners with default settings: its optimum is Riccati's, and nothing is better."""

import pytest
import torch

from mbrl.planners import ICEM
from scripts.experiments import planner_defaults as script


def riccati(a, b, x, steps):
    """Compute the least cost of steps from x (n,), whatever the actions are."""
    a, b, p = a.double(), b.double(), torch.zeros(len(a), len(a), dtype=torch.float64)
    eye = torch.eye(b.shape[1], dtype=torch.float64)
    for _ in range(steps):
        k = torch.linalg.solve(eye + b.T @ p @ b, b.T @ p @ a)
        p = torch.eye(len(a), dtype=torch.float64) + a.T @ p @ (a - b @ k)
    return float(x.double() @ p @ x.double())


@pytest.mark.parametrize("make", [script.non_normal, script.double_integrator, script.chain])
def test_without_active_bounds_the_optimum_is_that_of_riccati(make):
    a, b = make()
    x = torch.linspace(-1, 1, len(a))
    least = riccati(a, b, x, script.STEPS)
    assert script.least_cost(a, b, x, -1e3, 1e3) == pytest.approx(least, rel=1e-6)
    assert script.least_cost(a, b, x, -0.1, 1e3) > least * (1 + 1e-6)


def test_no_plan_is_better_than_the_optimum():
    system = script.linear(*script.double_integrator(), -2.0, 18.0, starts=2)
    returns = script.play(system, ICEM(action=system.action, num_samples=50))
    assert ((returns / system.optimum > 1) & (returns / system.optimum < 1.2)).all()
