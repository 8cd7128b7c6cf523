"""A step by the aggregate of members or by each member; which equations there are."""

import pytest
import torch

from mbrl.dynamics.sindy.library import polynomial
from mbrl.dynamics.sindy.step import SparseStep, aggregate, lay_out
from mbrl.types import Task

LIBRARY = polynomial([0, 1], 1)  # 1, x, u


def steps(mean: bool = False) -> SparseStep:
    """Members x' = x + a + b u with (a, b) of (1, 0), (2, 1) and (9, 5)."""
    model = SparseStep(lay_out(LIBRARY, 1, 1, Task(), True, False), 3, mean, False)
    model.members.copy_(torch.tensor([[[1.0, 0, 0]], [[2.0, 0, 1.0]], [[9.0, 0, 5.0]]]))
    model.rebuild()
    return model


def test_the_aggregate_is_the_median_or_the_mean():
    obs, action = torch.tensor([[0.5], [1.0]]), torch.tensor([[2.0], [0.0]])
    assert steps()(obs, action).tolist() == [[4.5], [3.0]]
    assert steps(mean=True)(obs, action).tolist() == [[0.5 + 4 + 4], [5.0]]


def test_blocks_of_rows_follow_their_members():
    obs, action = torch.zeros(5, 1), torch.ones(5, 1)
    moved = steps().by_blocks(obs, action, [2, 0])  # blocks of 3 and 2 rows
    assert moved.flatten().tolist() == [14, 14, 14, 1, 1]
    each = steps().by_members(obs.expand(2, 5, 1), action.expand(2, 5, 1), [1, 1])
    assert each.shape == (2, 5, 1) and (each == 3).all()


def test_code_follows_the_coefficients_only_when_it_is_rebuilt():
    model = steps()
    model.members.zero_()
    assert model(torch.zeros(1, 1), torch.ones(1, 1)).item() == 3
    model.rebuild()
    assert model(torch.zeros(1, 1), torch.ones(1, 1)).item() == 0


def test_a_structured_system_regresses_only_what_moves_nothing_else():
    task = Task(angle_pairs=((0, 1),), positions=((2, 3),))
    plain = lay_out(LIBRARY, 5, 1, task, True, False)
    assert plain.targets == (0, 1, 2, 3, 4) and not plain.angles and not plain.motion
    structured = lay_out(LIBRARY, 5, 1, task, True, True)
    assert structured.targets == (3, 4)
    assert structured.angles == ((0, 1),) and structured.positions == (2,)
    variables = [term.variables for term in structured.motion]
    assert variables == [(3,), (9,), (4,), (10,)]  # velocities, old and new


def test_aggregates_of_coefficients():
    members = torch.tensor([[[0.0]], [[1.0]], [[5.0]]], dtype=torch.float64)
    assert aggregate(members, "median").item() == 1 and aggregate(members, "mean").item() == 2
    assert aggregate(members[:, :, :0], "median").shape == (1, 0)


@pytest.mark.parametrize("compile", [False, True])
def test_a_kernel_can_be_asked_for_later(compile):
    model = steps()
    if compile:
        model.use_kernel()
    obs = torch.linspace(-1, 1, 10)[:, None]
    torch.testing.assert_close(model(obs, obs), obs + 2 + obs)
