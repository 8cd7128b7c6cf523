"""Scaling goes both ways and is safe for what does not vary."""

import torch

from mbrl.nn.normalizer import Normalizer


def test_scales_to_zero_mean_and_unit_variance_and_back():
    x = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)) * 7 + 100
    normalizer = Normalizer(3)
    normalizer.fit(x)
    z = normalizer(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalizer.invert(z), x)


def test_a_constant_dimension_is_not_blown_up():
    normalizer = Normalizer(1, floor=1e-3)
    normalizer.fit(torch.full((100, 1), 1.0))
    assert normalizer(torch.tensor([[1.0 + 1e-6]])).abs().item() < 2e-3
    assert normalizer.invert(torch.tensor([[1.0]])).item() == torch.tensor(1.001).item()
