"""What a sampling planner draws action sequences from: a Gaussian, or a categorical if discrete.

Actions are in environment units, spreads in units of half the range. E environments, K candidates,
H decisions, A = act_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mbrl.planners.noise import colored_noise
from mbrl.types import ActionSpec


class Distribution(Protocol):
    """A belief about good action sequences, E at once."""

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Draw candidates (E, num, H, A), inside the bounds."""
        ...

    def mean(self) -> Tensor:
        """Give the best single guess (E, H, A), inside the bounds."""
        ...

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Distribution:
        """Move to weighted samples (E, K, H, A), weights (E, K) that sum to 1."""
        ...

    def shift(self) -> Distribution:
        """Begin one decision later, as wide as at first."""
        ...


@dataclass(frozen=True)
class Bounds:
    """Where the actions of a plan may lie, (H, A) each: as large as a plan, for fast loops."""

    low: Tensor
    high: Tensor
    middle: Tensor
    half: Tensor  # of the range: the unit of a spread

    @staticmethod
    def of(action: ActionSpec, horizon: int) -> Bounds:
        """Repeat the bounds of an action for each decision."""
        low, high = (x.repeat(horizon, 1) for x in (action.low, action.high))
        return Bounds(low, high, (low + high) / 2, (high - low) / 2)


class Gaussian(NamedTuple):
    """Independent normals, clipped to the bounds; the noise may be coloured over time.

    Coloured noise: Pinneri et al. 2020 (iCEM).
    """

    centre: Tensor  # (E, H, A)
    std: Tensor  # (E, H, A)
    bounds: Bounds
    first_std: float  # in units of half the range
    min_std: float = 0.0  # likewise
    first_colour: float = 0.0  # exponent of 1 / f^colour; 0 is white
    colour: float = 0.0  # of the next samples
    adapt_std: bool = True
    shrink: float = 1.0
    whiten: float = 1.0  # the colour is multiplied by this at each fit

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Draw candidates (E, num, H, A)."""
        envs, horizon, dim = self.centre.shape
        noise = colored_noise((envs, num, horizon, dim), self.colour, generator=generator)
        actions = torch.addcmul(self.centre[:, None], noise, self.std[:, None])
        return actions.clamp_(self.bounds.low, self.bounds.high)

    def mean(self) -> Tensor:
        """Give the centre (E, H, A); an average can be a rounding error beyond the bounds."""
        return self.centre.clamp(self.bounds.low, self.bounds.high)

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Gaussian:
        """Move centre and spread towards weighted samples."""
        centre = _average(samples, weights)
        mixed = torch.lerp(centre, self.centre, momentum) if momentum else centre
        moved = self._replace(centre=mixed, colour=self.whiten * self.colour)
        if not self.adapt_std:
            return moved
        std = _average((samples - centre[:, None]).square(), weights).sqrt()
        std = self.shrink * torch.lerp(std, self.std, momentum)
        return moved._replace(std=torch.maximum(std, self.min_std * self.bounds.half))

    def shift(self) -> Gaussian:
        """Begin one decision later, the last one at the middle of the bounds."""
        last = self.bounds.middle[-1:].expand_as(self.centre[:, :1])
        centre = torch.cat([self.centre[:, 1:], last], 1)
        moved = self._replace(centre=centre, colour=self.first_colour)
        if not self.adapt_std:
            return moved
        return moved._replace(std=(self.first_std * self.bounds.half).expand_as(self.std))


class Categorical(NamedTuple):
    """Independent categoricals; candidates are one-hot."""

    probability: Tensor  # (E, H, A)
    min_probability: float = 0.01

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Draw one-hot candidates (E, num, H, A)."""
        envs, horizon, dim = self.probability.shape
        uniform = torch.rand(
            (envs, num, horizon, 1), generator=generator, device=self.probability.device
        )
        edges = self.probability.cumsum(-1)[:, None]
        index = (uniform > edges).sum(-1).clamp_(max=dim - 1)
        return torch.nn.functional.one_hot(index, dim).to(self.probability.dtype)

    def mean(self) -> Tensor:
        """Give the likeliest actions (E, H, A), one-hot."""
        index = self.probability.argmax(-1)
        return torch.nn.functional.one_hot(index, self.probability.shape[-1]).to(
            self.probability.dtype
        )

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Categorical:
        """Move towards the weighted frequencies."""
        found = _average(samples, weights)
        mixed = torch.lerp(found, self.probability, momentum).clamp(min=self.min_probability)
        return self._replace(probability=mixed / mixed.sum(-1, keepdim=True))

    def shift(self) -> Categorical:
        """Begin one decision later, undecided."""
        dim = self.probability.shape[-1]
        later = torch.cat(
            [self.probability[:, 1:], torch.full_like(self.probability[:, :1], 1 / dim)], 1
        )
        return self._replace(probability=0.5 * later + 0.5 / dim)


def _average(samples: Tensor, weights: Tensor) -> Tensor:
    """Average samples (E, K, H, A) with weights (E, K): (E, H, A)."""
    return torch.bmm(weights[:, None], samples.flatten(2)).view(-1, *samples.shape[2:])


def initial_distribution(
    action: ActionSpec,
    num_envs: int,
    horizon: int,
    *,
    std: float,
    min_std: float,
    colour: float = 0.0,
    adapt_std: bool = True,
    shrink: float = 1.0,
    whiten: float = 1.0,
) -> Distribution:
    """Begin without a plan: the middle of the bounds, or every action alike."""
    shape = (num_envs, horizon, action.dim)
    if action.kind == "discrete":
        return Categorical(torch.full(shape, 1 / action.dim, device=action.low.device))
    bounds = Bounds.of(action, horizon)
    centre, spread = (x.repeat(num_envs, 1, 1) for x in (bounds.middle, std * bounds.half))
    return Gaussian(centre, spread, bounds, std, min_std, colour, colour, adapt_std, shrink, whiten)
