"""A model made of functions: known steps, shapes that are refused, and a plan through it."""

import pytest
import torch

from mbrl.dynamics import FunctionModel
from mbrl.planners import CEM
from mbrl.types import ActionSpec


def push(obs, action):
    return obs + 0.5 * action


def cost(obs, action, next_obs):
    return -next_obs.square().sum(1)


def test_a_step_is_what_the_functions_say():
    model = FunctionModel(push, cost, lambda obs, action, next_obs: next_obs[:, 0] > 1)
    state = model.initial(torch.tensor([[0.0], [1.0]]), num_particles=2)
    assert state.flatten().tolist() == [0, 1, 0, 1]
    state, prediction = model.step(state, torch.tensor([[1.0], [2.0], [0.0], [-2.0]]))
    assert state.flatten().tolist() == [0.5, 2, 0, 0] and state.equal(prediction.next_obs)
    assert prediction.reward.tolist() == [-0.25, -4, 0, 0]
    assert prediction.terminated.tolist() == [False, True, False, False]
    assert prediction.valid.all() and prediction.uncertainty is None
    seen = model.observe(state, torch.zeros(2, 1), torch.tensor([[5.0], [6.0]]))
    assert seen.flatten().tolist() == [5, 6, 5, 6]


def test_arrays_of_numbers_begin_a_state_and_other_shapes_are_refused():
    model = FunctionModel(push, cost)
    assert model.initial([[1, 2]]).dtype == torch.float32  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"obs: shape \(2,\) should be"):
        model.initial(torch.zeros(2))
    wrong = FunctionModel(push, lambda obs, action, next_obs: next_obs)
    with pytest.raises(ValueError, match=r"reward: returned shape \(2, 1\), should be \(2,\)"):
        wrong.step(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="next_obs: returned shape"):
        FunctionModel(lambda obs, action: obs[0], cost).step(torch.zeros(2, 1), torch.zeros(2, 1))


def test_a_planner_finds_the_best_action_through_functions():
    planner = CEM(action=ActionSpec.box(-1, 1), horizon=1, num_samples=200, num_iterations=8)
    model = FunctionModel(push, cost)
    generator = torch.Generator().manual_seed(0)
    plan = planner.plan(model.initial(torch.tensor([[0.3]])), model, generator=generator)
    assert plan.actions.item() == pytest.approx(-0.6, abs=0.02)
