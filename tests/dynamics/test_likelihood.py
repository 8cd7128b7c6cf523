"""The gradient of the likelihood that is written out is that of autograd."""

import pytest
import torch
from torch import Tensor

from mbrl.dynamics.likelihood import BOUNDS_WEIGHT, Examples, LikelihoodGradient, bounded
from mbrl.nn.flat import layers
from mbrl.nn.mlp import evaluate
from tests.toys import generator

MEMBERS, WIDTHS, DECAY = 3, (4, 16, 8, 6), (0.1, 0.2, 0.3)


def make(ensembles: int, dtype: torch.dtype) -> tuple[LikelihoodGradient, list[Examples]]:
    draws = generator(ensembles)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draws, dtype=dtype)

    varies = torch.tensor([1, 0, 1], dtype=dtype)
    examples = [Examples(normal(40, 4), normal(40, 3), varies.roll(i)) for i in range(ensembles)]
    found = LikelihoodGradient(
        examples, num_members=MEMBERS, widths=WIDTHS, decay=DECAY, num_rows=10
    )
    for parameter in found.parameters:
        parameter.copy_(normal(*parameter.shape))
    found.parameters[0].mul_(0.5)
    found.parameters[2].sub_(6)  # the lower bounds
    return found, examples


def reference(
    parameters: list[Tensor], examples: list[Examples], rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the losses (S,), and their sum with the weight decay ()."""
    net = layers(parameters[0], len(examples) * MEMBERS, WIDTHS)
    weights, biases = (list(part) for part in zip(*net, strict=True))
    natural = [*weights[:-1], weights[-1].mT], [*biases[:-1], biases[-1].mT]
    x = torch.stack([e.inputs[own] for e, own in zip(examples, rows, strict=True)])
    y = torch.stack([e.targets[own] for e, own in zip(examples, rows, strict=True)])
    varies = torch.stack([e.varies for e in examples])[:, None, None]
    highest, lowest = parameters[1:]
    mean, raw = evaluate(x.flatten(0, 1), *natural).unflatten(0, rows.shape[:2]).chunk(2, -1)
    log_var = bounded(raw, highest[:, None, None], lowest[:, None, None])
    error = ((mean - y).square() * torch.exp(-log_var) + log_var) * varies
    losses = error.mean((2, 3)).sum(1) + BOUNDS_WEIGHT * (highest - lowest).sum(1)
    decays = [d / 2 * w.square().sum() for d, w in zip(DECAY, weights, strict=True)]
    return losses, losses.sum() + sum(decays)


@pytest.mark.parametrize("ensembles", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_losses_and_gradients_are_those_of_autograd(ensembles, dtype, tolerance):
    found, examples = make(ensembles, dtype)
    for count in (10, 7, 10):
        rows = torch.randint(40, (ensembles, MEMBERS, count), generator=generator(count))
        losses = found(rows)
        wide = [x.double().requires_grad_() for x in found.parameters]
        doubles = [Examples(*(x.double() for x in e)) for e in examples]
        expected, total = reference(wide, doubles, rows)
        torch.testing.assert_close(losses.double(), expected, rtol=tolerance, atol=tolerance)
        gradients = torch.autograd.grad(total, wide)
        everything = torch.cat([x.flatten() for x in gradients])
        found_everything = torch.cat([x.flatten() for x in found.gradients])
        assert (found_everything - everything).norm() <= tolerance * everything.norm()
        for one, other in zip(found.gradients, gradients, strict=True):
            assert (one - other).norm() <= 10 * tolerance * other.norm()


def test_an_ensemble_s_part_is_its_own():
    both, _ = make(2, torch.float64)
    parts = [both.of_fit(both.parameters, fit) for fit in range(2)]
    assert [len(part) for part in parts] == [8, 8]
    assert parts[0][0].shape == (MEMBERS, 4, 16) and parts[0][4].shape == (MEMBERS, 6, 8)
    for part in parts[1]:
        part.zero_()
    assert all(part.ne(0).any() for part in parts[0])
    left = sum(parameter.eq(0).sum() for parameter in both.parameters)
    assert left * 2 == sum(parameter.numel() for parameter in both.parameters)
