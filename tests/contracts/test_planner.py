"""What every planner keeps to: shapes, bounds, repeatability, what it asks of a model."""

import pytest
import torch
import yaml

from mbrl.errors import BadInput
from mbrl.planners import PiecewiseLinearModel
from tests.contracts.parts import CONFIGS, make, names
from tests.contracts.test_dynamics import build as build_dynamics
from tests.toys import ACTION, ToyEnv, ToyModel, ToyPlanner, collect, generator, toy_relu_model


def labels(group: str, name: str, label: str) -> list[str]:
    """Return what a part's YAML says under a label."""
    return yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text()).get(label, [])


EXACT = [x for x in names("planner") if "piecewise_linear" in labels("planner", x, "_requires_")]
RELU_MODELS = [
    x for x in names("dynamics") if "piecewise_linear" in labels("dynamics", x, "_provides_")
]


@pytest.mark.parametrize("name", ["toy", *names("planner")])
def test_planner(name):
    exact = name in EXACT  # they take longer
    small = {"horizon": 3} if exact else {}
    planner = ToyPlanner() if name == "toy" else make("planner", name, small, action=ACTION)
    obs = torch.randn(10 if exact else 100, 2, generator=generator(1)) * 2
    model = toy_relu_model() if exact else ToyModel()
    state = model.initial(obs)
    plan = planner.plan(state, model, generator=generator(2))
    assert plan.actions.shape[0] == len(obs) and plan.actions.shape[2] == 1
    assert plan.value.shape == (len(obs),)
    assert (plan.actions >= ACTION.low).all() and (plan.actions <= ACTION.high).all()
    again = planner.plan(state, model, generator=generator(2))
    assert again.actions.equal(plan.actions) and again.value.equal(plan.value)
    following = planner.plan(state, model, generator=generator(3), previous=plan)
    assert following.actions.shape == plan.actions.shape


@pytest.mark.parametrize("name", EXACT)
def test_exact_planners_refuse_other_models(name):
    planner = make("planner", name, action=ACTION)
    with pytest.raises(BadInput, match=f"planner={name} plans on ReLU networks only.*sparse_relu"):
        planner.plan(torch.zeros(1, 2), ToyModel(), generator=generator(0))


@pytest.mark.parametrize("dynamics", ["toy", *RELU_MODELS])
def test_exact_planners_take_every_relu_model(dynamics):
    if dynamics == "toy":
        model = toy_relu_model()
    else:
        model = build_dynamics(dynamics)
        model.fit(collect(ToyEnv(4), 100).all(), generator=generator(1))
    assert isinstance(model, PiecewiseLinearModel)
    state = model.initial(torch.randn(5, 2, generator=generator(1)))
    action = ACTION.sample(5, generator=generator(2))
    seen = state if isinstance(state, torch.Tensor) else state.obs
    network = model.network()
    out = network.evaluate(torch.cat([seen, action], 1).double())
    pred = model.step(state, action)[1]
    width = pred.next_obs.shape[1]
    torch.testing.assert_close(out[:, :width].float(), pred.next_obs.float(), atol=1e-4, rtol=1e-4)
    charged = -model.cost.step(out, action).float()
    torch.testing.assert_close(charged, pred.reward.float(), atol=1e-4, rtol=1e-4)
    for name in EXACT:
        planner = make("planner", name, {"horizon": 2}, action=ACTION)
        plan = planner.plan(state, model, generator=generator(3))
        assert (plan.info["lower_bound"] <= -plan.value.double() + 1e-6).all()
