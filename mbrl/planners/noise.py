"""Colored noise: random sequences that are correlated over time."""

from __future__ import annotations

import functools

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
    amplitudes = _amplitudes(length, exponent, device)
    waves = (*shape[:2], length // 2 + 1, shape[3])
    real, imaginary = (
        torch.randn(waves, generator=generator, device=device).mul_(amplitude)
        for amplitude in amplitudes
    )
    return torch.fft.irfft(torch.complex(real, imaginary), n=length, dim=2)


@functools.lru_cache(maxsize=64)
def _amplitudes(length: int, exponent: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the standard deviations (F, 1) of the real and of the imaginary parts of F waves."""
    frequency = torch.fft.rfftfreq(length)
    frequency[0] = frequency[1]  # the slowest wave carries the mean
    scale = frequency ** (-exponent / 2)
    weight = scale.square()
    power = 2 * weight.sum() - weight[0] - (weight[-1] if length % 2 == 0 else 0)
    real = scale * (length / (2 * power).sqrt())
    imaginary = real.clone()
    # the mean, and with an even length the fastest wave, have no phase
    for wave in (0, -1) if length % 2 == 0 else (0,):
        real[wave] *= 2**0.5
        imaginary[wave] = 0
    return real[:, None].to(device), imaginary[:, None].to(device)
