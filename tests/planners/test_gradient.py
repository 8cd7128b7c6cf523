"""Gradient planner: against steps of Adam by hand, and its refusals."""

import pytest
import torch

from mbrl.errors import BadInput
from mbrl.planners import Gradient
from mbrl.types import ActionSpec, Prediction
from tests.toys import generator

WIDE = ActionSpec("continuous", torch.tensor([-2.0]), torch.tensor([6.0]))  # middle 2, half 4


class Parabola:
    """Pays -(u - 3)^2 for each action u."""

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        never = torch.zeros(len(state), dtype=torch.bool)
        return state, Prediction(state, -(action[:, 0] - 3).square(), never, ~never, None)


def test_one_start_takes_the_steps_of_adam_from_the_middle():
    planner = Gradient(action=WIDE, horizon=1, num_starts=1, num_iterations=3, learning_rate=0.1)
    plan = planner.plan(torch.zeros(1, 1), Parabola(), generator=generator(1))
    x = torch.zeros(1, requires_grad=True)  # in units of [-1, 1]: u = 2 + 4 x
    adam, best = torch.optim.Adam([x], 0.1, (0.9, 0.9)), (-torch.inf, 0.0)
    for step in range(4):
        loss = (2 + 4 * x - 3).square().sum()
        best = max(best, (-loss.item(), 2 + 4 * x.item()))
        if step < 3:
            adam.zero_grad()
            loss.backward()
            adam.step()
            adam.param_groups[0]["lr"] *= 0.3 ** (1 / 3)
    assert plan.value.item() == pytest.approx(best[0], abs=1e-5)
    assert plan.actions.item() == pytest.approx(best[1], abs=1e-5)
    assert plan.info["evaluations"] == 4 and plan.info["iterations"] == 3


def test_the_best_of_all_iterations_is_kept():
    """A learning rate of 2 jumps to the bound, where the return is -9."""
    planner = Gradient(action=WIDE, horizon=1, num_starts=1, num_iterations=1, learning_rate=2.0)
    plan = planner.plan(torch.zeros(1, 1), Parabola(), generator=generator(1))
    assert plan.value.item() == pytest.approx(-1.0) and plan.actions.item() == pytest.approx(2.0)


def test_the_next_plan_starts_one_decision_later():
    planner = Gradient(action=WIDE, horizon=2, num_starts=1, warm_iterations=1, learning_rate=1e-9)
    start = planner.start(1)._replace(sequence=torch.tensor([[[0.1], [0.2]]]))
    previous = planner.plan(torch.zeros(1, 1), Parabola(), generator=generator(1))
    plan = planner.plan(
        torch.zeros(1, 1), Parabola(), generator=generator(1),
        previous=previous._replace(warm_start=start),
    )  # fmt: skip
    torch.testing.assert_close(plan.actions.flatten(), torch.tensor([2.8, 2.8]))


def test_the_noise_of_the_model_is_the_same_in_every_iteration():
    class Noisy(Parabola):
        def __init__(self):
            self.draws = []

        def step(self, state, action, *, generator=None, with_uncertainty=False):
            self.draws.append(torch.rand(1, generator=generator).item())
            return super().step(state, action)

    model = Noisy()
    planner = Gradient(action=WIDE, horizon=2, num_iterations=3)
    planner.plan(torch.zeros(1, 1), model, generator=generator(1))
    assert len(model.draws) == 8 and len(set(model.draws)) == 2


def test_discrete_actions_are_refused():
    with pytest.raises(BadInput, match="choose CEM, ICEM or MPPI"):
        Gradient(action=ActionSpec("discrete", torch.zeros(2), torch.ones(2), 2))
