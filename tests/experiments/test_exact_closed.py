"""Planners in closed loop: a plan is charged alike in the model and in the simulator."""

import argparse

import numpy as np
import pytest
import torch

from mbrl.dynamics import SparseReLU
from scripts.experiments import exact_closed, push_control
from tests.toys import generator


@pytest.mark.parametrize("hold", [1, 3])
def test_a_model_without_errors_charges_plans_as_the_simulator_does(hold):
    env, model = exact_closed.problem(argparse.Namespace(task="piecewise_affine"), 4)
    state = model.initial(env.reset(0))
    plans = [
        exact_closed.Plan(env.action.sample(4 * 5, generator=draws).view(4, 5, 2), None, None, {})
        for draws in (torch.Generator().manual_seed(k) for k in range(2))
    ]
    found = exact_closed.compare(env, model, state, plans, hold)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    seen, _ = env.simulate(env.env_state(), plans[1].actions.repeat_interleave(hold, dim=1))
    np.testing.assert_allclose(found[1, 1], -seen.reward.double().sum(1), rtol=1e-5)


def test_what_a_plan_takes_as_fixed_is_charged_in_the_simulator_too():
    """The place behind the slider: after one step it is still the one that the reward takes."""
    env = push_control.make("push", 3)
    model = SparseReLU(
        obs_dim=4, action=env.action, task=env.task, generator=generator(0), hidden=(4,),
        schedule=(2,),
    )  # fmt: skip
    state = model.initial(env.reset(0))
    plan = exact_closed.Plan(env.action.sample(3, generator=generator(1))[:, None], None, None, {})
    found = exact_closed.compare(env, model, state, [plan], 1)
    seen, _ = env.simulate(env.env_state(), plan.actions)
    np.testing.assert_allclose(found[1, 0], -seen.reward.double()[:, 0], rtol=1e-5)


def test_gains_are_shares_of_the_mean_cost():
    cem, mine = np.array([[2.0, 4.0], [1.0, 1.0]]), np.array([[2.0, 1.0], [2.0, 2.0]])
    gains = exact_closed.gains_of(cem, mine)
    assert gains["model_gain"] == pytest.approx(0.5) and gains["true_gain"] == pytest.approx(-1)
    assert gains["model_low"] == 0 and gains["model_high"] == pytest.approx(1)
    assert gains["true_low"] == gains["true_high"] == pytest.approx(-1)


def test_rows_are_compared_start_by_start_as_far_as_both_go():
    more = exact_closed.paired({"costs": "3.0 2.5 9"}, {"costs": "1 2.5"})
    assert more.tolist() == [2, 0]
