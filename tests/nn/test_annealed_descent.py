"""Steps of Adam whose rate falls to zero: each member has its own rows, noise averages out."""

import pytest
import torch
from torch import nn

from mbrl.errors import NumericalFault
from mbrl.nn.annealed_descent import AnnealedDescent


def descent(loss, weight: nn.Parameter, members: int = 2, rows: int = 40) -> AnnealedDescent:
    of_each = torch.arange(rows).expand(members, -1) + rows * torch.arange(members)[:, None]
    groups = [{"params": [weight], "weight_decay": 0.0}]
    generator = torch.Generator().manual_seed(0)
    return AnnealedDescent(
        loss, groups, of_each, batch_size=8, learning_rate=0.1, generator=generator
    )


def test_members_see_their_own_rows_and_annealing_averages_the_noise_out():
    noise = torch.randn(80, generator=torch.Generator().manual_seed(1))
    y = noise + torch.tensor([3.0, -3.0]).repeat_interleave(40)
    weight = nn.Parameter(torch.zeros(2))
    steps = descent(lambda rows: (weight[:, None] - y[rows]).square().sum(), weight)
    for _ in range(20):
        steps.run_epoch(1000)
    assert steps.updates == 100
    restless = (weight.detach() - y.view(2, 40).mean(1)).abs()
    steps.anneal(200)
    assert steps.updates == 300
    calm = (weight.detach() - y.view(2, 40).mean(1)).abs()
    assert calm.max() < 0.03 and calm.max() < restless.max()


def test_an_epoch_ends_at_the_limit_and_the_groups_stay_as_they_were():
    weight = nn.Parameter(torch.zeros(2))
    steps = descent(lambda rows: weight.sum(), weight)
    steps.run_epoch(3)
    steps.anneal(2)
    assert steps.updates == 5
    steps.anneal(0)
    assert steps.updates == 5


def test_a_loss_that_is_not_finite_is_named():
    weight = nn.Parameter(torch.zeros(2))
    steps = descent(lambda rows: weight.sum() * torch.nan, weight)
    steps.run_epoch(100)
    with pytest.raises(NumericalFault, match="dynamics loss is nan after 5 updates"):
        steps.check(torch.tensor(True))
    with pytest.raises(NumericalFault, match="dynamics loss is nan after 6 updates"):
        steps.anneal(1)


def test_the_flag_of_the_holdout_comes_with_the_check():
    weight = nn.Parameter(torch.zeros(2))
    steps = descent(lambda rows: weight.sum(), weight)
    steps.run_epoch(100)
    assert [steps.check(torch.tensor(flag)) for flag in (True, False)] == [True, False]
