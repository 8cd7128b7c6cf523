"""Colored noise: random sequences that are correlated over time."""

from __future__ import annotations

import torch
from torch import Tensor


def colored_noise(
    shape: tuple[int, int, int, int], exponent: float, *, generator: torch.Generator
) -> Tensor:
    """Sample unit-variance noise whose power falls as 1 / f^exponent along the third axis.

    Timmer and Koenig 1995, as used by iCEM (Pinneri et al. 2020); exponent 0 is white.

    Args:
        shape: (E, K, H, A).
        exponent: 0 white, 1 pink, 2 red.
        generator: source of the draws.
    """
    device = generator.device
    length = shape[2]
    if exponent == 0 or length == 1 or 0 in shape:
        return torch.randn(shape, generator=generator, device=device)
    frequency = torch.fft.rfftfreq(length, device=device)
    frequency[0] = frequency[1]  # the slowest wave carries the mean
    scale = frequency ** (-exponent / 2)
    waves = (*shape[:2], scale.shape[0], shape[3])
    real = torch.randn(waves, generator=generator, device=device)
    imaginary = torch.randn(waves, generator=generator, device=device)
    # the mean, and with an even length the fastest wave, have no phase
    imaginary[:, :, 0] = 0
    real[:, :, 0] *= 2**0.5
    if length % 2 == 0:
        imaginary[:, :, -1] = 0
        real[:, :, -1] *= 2**0.5
    spectrum = torch.complex(real, imaginary) * scale[:, None]
    weight = scale.square()
    power = 2 * weight.sum() - weight[0] - (weight[-1] if length % 2 == 0 else 0)
    return torch.fft.irfft(spectrum, n=length, dim=2) * (length / (2 * power).sqrt())
