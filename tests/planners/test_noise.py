"""Coloured noise: unit variance at every step, and the spectrum it is named after."""

import pytest
import torch

from mbrl.planners.noise import colored_noise
from tests.toys import generator


@pytest.mark.parametrize("length", [2, 5, 10, 25, 30])
@pytest.mark.parametrize("exponent", [0.0, 0.25, 1.0, 2.0, 3.0])
def test_unit_variance_at_every_step(length, exponent):
    noise = colored_noise((40, 200, length, 3), exponent, generator=generator(1))
    assert noise.mean().abs() < 0.03
    assert (noise.std((0, 1, 3)) - 1).abs().max() < 0.03


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_power_falls_with_the_exponent(exponent):
    noise = colored_noise((50, 200, 64, 1), exponent, generator=generator(2))
    power = torch.fft.rfft(noise, dim=2).abs().square().mean((0, 1, 3))[1:-1]
    frequency = torch.fft.rfftfreq(64)[1:-1]
    x, y = frequency.log(), power.log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert slope.item() == pytest.approx(-exponent, abs=0.05)
