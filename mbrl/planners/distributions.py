"""Distributions over action sequences: a Gaussian, or a categorical for discrete actions.

Actions are in environment units, `std` in units of half their range. E environments, K candidates,
H decisions, A = act_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from mbrl.planners.noise import colored_noise
from mbrl.types import ActionSpec

# least standard deviation of a plan from the plan before, in units of the initial one. Narrower
# ones follow a linear system's optimum more closely (.1: cost over the optimum 2.0 for 3.8), but
# find fewer swing-ups (.1: return of Pendulum -254 for -237; 1: -233).
WARM_STD = 0.3


class Distribution(Protocol):
    """Proposal distribution over action sequences, of E environments at once."""

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Sample candidates (E, num, H, A), inside the bounds."""
        ...

    def mean(self) -> Tensor:
        """Return the center (E, H, A), inside the bounds."""
        ...

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Self:
        """Fit to samples (E, K, H, A) with weights (E, K) that sum to 1.

        Args:
            samples: action sequences (E, K, H, A).
            weights: of the samples (E, K).
            momentum: weight of the present distribution.
        """
        ...

    def shift(self, *, generator: torch.Generator) -> Self:
        """Return the distribution one decision later, wide enough to explore."""
        ...


@dataclass(frozen=True)
class Bounds:
    """Limits of a plan's actions, (H, A) each: as large as a plan, for fast loops."""

    low: Tensor
    high: Tensor
    middle: Tensor
    half: Tensor  # half the range: the unit of a std
    # a power of two near half the range: dividing by it rounds nothing, and squares stay finite
    unit: Tensor

    @staticmethod
    def of(action: ActionSpec, horizon: int) -> Bounds:
        """Return the bounds of an action, repeated for each decision."""
        low, high = (x.repeat(horizon, 1) for x in (action.low, action.high))
        half = (high - low) / 2
        unit = torch.where(half > 0, torch.exp2(half.log2().floor()), 1.0)
        return Bounds(low, high, (low + high) / 2, half, unit)


class Gaussian(NamedTuple):
    """Independent normals, clipped to the bounds; the noise may be colored over time.

    Colored noise: Pinneri et al. 2020 (iCEM).
    """

    center: Tensor  # (E, H, A)
    std: Tensor  # (E, H, A)
    bounds: Bounds
    initial_std: float  # in units of half the range
    min_std: float = 0.0  # likewise
    initial_color: float = 0.0  # exponent of 1 / f^color; 0 is white
    color: float = 0.0  # of the next samples
    adapt_std: bool = True
    shrink: float = 1.0  # factor on std at each fit
    color_decay: float = 1.0  # factor on color at each fit

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Sample candidates (E, num, H, A)."""
        envs, horizon, dim = self.center.shape
        noise = colored_noise((envs, num, horizon, dim), self.color, generator=generator)
        actions = torch.addcmul(self.center[:, None], noise, self.std[:, None])
        return actions.clamp_(self.bounds.low, self.bounds.high)

    def mean(self) -> Tensor:
        """Return the center (E, H, A); an average can be a rounding error beyond the bounds."""
        return self.center.clamp(self.bounds.low, self.bounds.high)

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Gaussian:
        """Fit center and std to samples (E, K, H, A) with weights (E, K)."""
        average = _average(samples, weights)
        center = torch.lerp(average, self.center, momentum) if momentum else average
        moved = self._replace(center=center, color=self.color_decay * self.color)
        if not self.adapt_std:
            return moved
        unit = self.bounds.unit
        squares = (samples - average[:, None]).div_(unit).square_()
        std = unit * _average(squares, weights).sqrt()
        if momentum:
            std = torch.lerp(std, self.std, momentum)
        if self.shrink != 1:
            std = self.shrink * std
        if self.min_std:
            std = torch.maximum(std, self.min_std * self.bounds.half)
        return moved._replace(std=std)

    def shift(self, *, generator: torch.Generator) -> Gaussian:
        """Return the distribution one decision later; the last one is held.

        The fitted standard deviations are kept in part: with the initial ones the few iterations of
        a plan from the plan before would end further from the optimum than they began.
        """
        center = torch.cat([self.center[:, 1:], self.center[:, -1:]], 1)
        moved = self._replace(center=center, color=self.initial_color)
        if not self.adapt_std:
            return moved
        initial = (self.initial_std * self.bounds.half).expand_as(self.std)
        wider = torch.cat([2 * self.std[:, 1:], initial[:, -1:]], 1)
        return moved._replace(std=wider.maximum(WARM_STD * initial).minimum(initial))


class Categorical(NamedTuple):
    """Independent categoricals; candidates are one-hot."""

    probability: Tensor  # (E, H, A)
    min_probability: float = 0.01

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Sample one-hot candidates (E, num, H, A)."""
        envs, horizon, dim = self.probability.shape
        uniform = torch.rand(
            (envs, num, horizon, 1), generator=generator, device=self.probability.device
        )
        cumulative = self.probability.cumsum(-1)[:, None]
        index = (uniform > cumulative).sum(-1).clamp_(max=dim - 1)
        return torch.nn.functional.one_hot(index, dim).to(self.probability.dtype)

    def mean(self) -> Tensor:
        """Return the most likely actions (E, H, A), one-hot."""
        index = self.probability.argmax(-1)
        return torch.nn.functional.one_hot(index, self.probability.shape[-1]).to(
            self.probability.dtype
        )

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Categorical:
        """Fit to the frequencies in samples (E, K, H, A) with weights (E, K)."""
        frequency = _average(samples, weights)
        mixed = torch.lerp(frequency, self.probability, momentum).clamp(min=self.min_probability)
        return self._replace(probability=mixed / mixed.sum(-1, keepdim=True))

    def shift(self, *, generator: torch.Generator) -> Categorical:
        """Return the distribution one decision later, half way to uniform."""
        dim = self.probability.shape[-1]
        later = torch.cat(
            [self.probability[:, 1:], torch.full_like(self.probability[:, :1], 1 / dim)], 1
        )
        return self._replace(probability=0.5 * later + 0.5 / dim)


def _average(samples: Tensor, weights: Tensor) -> Tensor:
    """Compute the average of samples (E, K, H, A) with weights (E, K): (E, H, A)."""
    return torch.bmm(weights[:, None], samples.flatten(2)).view(-1, *samples.shape[2:])


def initial_distribution(
    action: ActionSpec,
    num_envs: int,
    horizon: int,
    *,
    std: float,
    min_std: float = 0.0,
    color: float = 0.0,
    adapt_std: bool = True,
    shrink: float = 1.0,
    color_decay: float = 1.0,
) -> Distribution:
    """Return the distribution of a plan without a plan before.

    Its center is the middle of the bounds; discrete actions are all as likely.

    Args:
        action: the environment's actions.
        num_envs: E.
        horizon: decisions H.
        std: initial standard deviation, in units of half the range of the actions.
        min_std: smallest standard deviation, in the same units.
        color: exponent of the power spectrum of the noise over time; 0 is white.
        adapt_std: whether the standard deviation is fitted as well.
        shrink: factor on a fitted standard deviation.
        color_decay: factor on the color at each fit.
    """
    shape = (num_envs, horizon, action.dim)
    if action.kind == "discrete":
        return Categorical(torch.full(shape, 1 / action.dim, device=action.low.device))
    bounds = Bounds.of(action, horizon)
    center, spread = (x.repeat(num_envs, 1, 1) for x in (bounds.middle, std * bounds.half))
    return Gaussian(
        center, spread, bounds, std, min_std, color, color, adapt_std, shrink, color_decay
    )
