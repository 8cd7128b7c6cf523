"""Steps of Adam whose rate falls to zero: each member has its own rows, noise averages out."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mbrl.errors import NumericalFault
from mbrl.nn.annealed_descent import AnnealedDescent, StackedDescent

MEMBERS, ROWS = 2, 40


class Mean:
    """Squared error of one number a member, of S fits; the loss is multiplied by a factor."""

    def __init__(self, y: Tensor, factor: float = 1.0):
        self._y, self._factor = y, factor  # (S, MEMBERS * ROWS)
        self.parameters = [torch.zeros(len(y), MEMBERS)]
        self.gradients = [torch.zeros(len(y), MEMBERS)]

    def __call__(self, rows: Tensor) -> Tensor:
        target = self._y.gather(1, rows.flatten(1)).view(rows.shape)
        error = self.parameters[0][..., None] - target
        self.gradients[0].copy_(2 * error.sum(2))
        return self._factor * error.square().sum((1, 2))

    def of_fit(self, tensors: Sequence[Tensor], fit: int) -> list[Tensor]:
        return [tensors[0][fit]]


def noisy(seed: int = 1) -> Tensor:
    noise = torch.randn(MEMBERS * ROWS, generator=torch.Generator().manual_seed(seed))
    return (noise + torch.tensor([3.0, -3.0]).repeat_interleave(ROWS))[None]


def descent(gradient: Mean, seed: int = 0) -> AnnealedDescent:
    rows = torch.arange(ROWS).expand(MEMBERS, -1) + ROWS * torch.arange(MEMBERS)[:, None]
    generator = torch.Generator().manual_seed(seed)
    return AnnealedDescent(gradient, rows, batch_size=8, learning_rate=0.1, generator=generator)


def test_members_see_their_own_rows_and_annealing_averages_the_noise_out():
    y = noisy()
    gradient = Mean(y)
    steps = descent(gradient)
    for _ in range(20):
        steps.run_epoch(1000)
    assert steps.updates == 100
    best = y.view(2, ROWS).mean(1)
    restless = (gradient.parameters[0][0] - best).abs()
    steps.anneal(200)
    assert steps.updates == 300
    calm = (gradient.parameters[0][0] - best).abs()
    assert calm.max() < 0.03 and calm.max() < restless.max()


def test_an_epoch_ends_at_the_limit():
    steps = descent(Mean(noisy()))
    steps.run_epoch(3)
    steps.anneal(2)
    assert steps.updates == 5
    steps.anneal(0)
    assert steps.updates == 5


def test_fits_go_on_together_as_they_would_alone():
    """Also where one of them has taken more steps before."""
    alone, together = ([Mean(noisy(seed)) for seed in range(3)] for _ in range(2))
    one_by_one, parts = (
        [descent(gradient, seed) for seed, gradient in enumerate(of)] for of in (alone, together)
    )
    for steps in (one_by_one[0], parts[0]):
        steps.run_epoch(1000)
    for steps in one_by_one:
        steps.run_epoch(1000)
        steps.anneal(7)
    stacked = StackedDescent(parts, Mean(torch.cat([noisy(seed) for seed in range(3)])))
    stacked.run_epoch(1000)
    stacked.anneal(7)
    assert [steps.updates for steps in parts] == [17, 12, 12]
    for mine, theirs in zip(alone, together, strict=True):
        assert mine.parameters[0].equal(theirs.parameters[0])


def test_a_loss_that_is_not_finite_is_named():
    steps = descent(Mean(noisy(), torch.nan))
    steps.run_epoch(100)
    with pytest.raises(NumericalFault, match="dynamics loss is nan after 5 updates"):
        steps.check(torch.tensor(True))
    with pytest.raises(NumericalFault, match="dynamics loss is nan after 6 updates"):
        steps.anneal(1)


def test_the_flag_of_the_holdout_comes_with_the_check():
    steps = descent(Mean(noisy()))
    steps.run_epoch(100)
    assert [steps.check(torch.tensor(flag)) for flag in (True, False)] == [True, False]
