"""What every planner keeps to: shapes, bounds, repeatability."""

import pytest
import torch

from tests.contracts.parts import make, names
from tests.toys import ACTION, ToyModel, ToyPlanner, generator


@pytest.mark.parametrize("name", ["toy", *names("planner")])
def test_planner(name):
    planner = ToyPlanner() if name == "toy" else make("planner", name, action=ACTION)
    obs = torch.randn(100, 2, generator=generator(1)) * 2
    model = ToyModel()
    plan = planner.plan(obs, model, generator=generator(2))
    assert plan.actions.shape[0] == 100 and plan.actions.shape[2] == 1
    assert plan.value.shape == (100,)
    assert (plan.actions >= ACTION.low).all() and (plan.actions <= ACTION.high).all()
    again = planner.plan(obs, model, generator=generator(2))
    assert again.actions.equal(plan.actions) and again.value.equal(plan.value)
    following = planner.plan(obs, model, generator=generator(3), previous=plan)
    assert following.actions.shape == plan.actions.shape
