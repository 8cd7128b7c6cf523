"""A step by the aggregate of members or by each member; which equations there are."""

import math

import numpy as np
import pytest
import torch

from mbrl.dynamics.sindy.library import polynomial
from mbrl.dynamics.sindy.step import Form, SparseStep, step_of

LIBRARY = polynomial([0, 1], 1)  # 1, x, u


def empty(num_obs: int = 1, **given) -> SparseStep:
    settings = {"delta": True, "positions": (), "compile": False, **given}
    return SparseStep(LIBRARY, num_obs, 1, 3, **settings)


def steps() -> SparseStep:
    """Members x' = x + a + b u with (a, b) of (1, 0), (2, 1) and (9, 5); (2, 1) in common."""
    model = empty()
    members = torch.tensor([[[1.0, 0, 0]], [[2.0, 0, 1.0]], [[9.0, 0, 5.0]]])
    system = model.lay_out(Form())._replace(coefficients=np.array([[2.0, 0, 1.0]]))
    model.store(system, members, torch.zeros(3, 0, 2))
    return model


def test_a_step_is_that_of_the_aggregate():
    obs, action = torch.tensor([[0.5], [1.0]]), torch.tensor([[2.0], [0.0]])
    assert steps()(obs, action).tolist() == [[4.5], [3.0]]
    assert step_of(steps().system(), obs, action).tolist() == [[4.5], [3.0]]


def test_rates_are_integrated_over_the_step():
    model = empty()
    system = model.lay_out(Form(flow=True))._replace(coefficients=np.array([[0.0, -0.3, 0.2]]))
    model.store(system, torch.tensor([[[0.0, -0.3, 0.2]]] * 3), torch.zeros(3, 0, 2))
    obs, action = torch.tensor([[1.0], [-2.0]]).double(), torch.tensor([[0.5], [0.0]]).double()
    still = action * 0.2 / 0.3
    exact = still + (obs - still) * math.exp(-0.3)
    for found in (
        model(obs, action),
        model.by_members(obs[None], action[None], [1])[0],
        torch.from_numpy(model.predictor.numpy(obs.numpy(), action.numpy())),
        torch.from_numpy(model.predictor.numpy(obs[:1].numpy(), action[:1].numpy())),
    ):
        torch.testing.assert_close(found, exact[: len(found)], atol=1e-4, rtol=0)
    again = empty()
    again.load_state_dict(model.state_dict())
    again.rebuild()
    assert again.layout.flow and again(obs, action).equal(model(obs, action))


def test_blocks_of_rows_follow_their_members():
    obs, action = torch.zeros(5, 1), torch.ones(5, 1)
    moved = steps().by_blocks(obs, action, [2, 0])  # blocks of 3 and 2 rows
    assert moved.flatten().tolist() == [14, 14, 14, 1, 1]
    each = steps().by_members(obs.expand(2, 5, 1), action.expand(2, 5, 1), [1, 1])
    assert each.shape == (2, 5, 1) and (each == 3).all()


def test_code_follows_the_coefficients_only_when_it_is_rebuilt():
    model = steps()
    model.weights.zero_()
    assert model(torch.zeros(1, 1), torch.ones(1, 1)).item() == 3
    model.rebuild()
    assert model(torch.zeros(1, 1), torch.ones(1, 1)).item() == 0


def test_a_structured_system_regresses_only_what_moves_nothing_else():
    model = empty(5, positions=((2, 3),))
    model.set_pairs([(0, 1)])
    plain = model.lay_out(Form())
    assert plain.targets == (0, 1, 2, 3, 4) and not plain.angles and not plain.motion
    structured = model.lay_out(Form(structured=True))
    assert structured.targets == (3, 4)
    assert structured.angles == ((0, 1),) and structured.positions == (2,)
    variables = [term.variables for term in structured.motion]
    assert variables[:4] == [(0,), (6,), (1,), (7,)]  # every observation, old and new


@pytest.mark.parametrize("compile", [False, True])
def test_a_kernel_can_be_asked_for_later(compile):
    model = steps()
    if compile:
        model.use_kernel()
    obs = torch.linspace(-1, 1, 10)[:, None]
    torch.testing.assert_close(model(obs, obs), obs + 2 + obs)
