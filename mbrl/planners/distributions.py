"""What a sampling planner draws action sequences from: a Gaussian, or a categorical if discrete.

Actions are handled in units of [-1, 1] and scaled when they are handed out. E environments, K
candidates, H decisions, A = act_dim.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mbrl.planners.noise import coloured_noise
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


class Gaussian(NamedTuple):
    """Independent normals, clipped to [-1, 1]; the noise may be coloured over time.

    Coloured noise: Pinneri et al. 2020 (iCEM).
    """

    centre: Tensor  # (E, H, A) in [-1, 1]
    std: Tensor  # (E, H, A)
    first_std: float
    min_std: float = 0.0
    colour: float = 0.0  # exponent of 1 / f^colour; 0 is white
    adapt_std: bool = True
    shrink: float = 1.0

    def sample(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Draw candidates (E, num, H, A)."""
        envs, horizon, dim = self.centre.shape
        noise = coloured_noise((envs, num, horizon, dim), self.colour, generator=generator)
        return torch.addcmul(self.centre[:, None], noise, self.std[:, None]).clamp_(-1, 1)

    def mean(self) -> Tensor:
        """Give the centre (E, H, A)."""
        return self.centre

    def fit(self, samples: Tensor, weights: Tensor, momentum: float) -> Gaussian:
        """Move centre and spread towards weighted samples."""
        w = weights[:, :, None, None]
        centre = (w * samples).sum(1)
        moved = self._replace(centre=torch.lerp(centre, self.centre, momentum))
        if not self.adapt_std:
            return moved
        std = (w * (samples - centre[:, None]).square()).sum(1).sqrt()
        std = self.shrink * torch.lerp(std, self.std, momentum)
        return moved._replace(std=std.clamp(min=self.min_std))

    def shift(self) -> Gaussian:
        """Begin one decision later, the last one at the middle of the bounds."""
        centre = torch.cat([self.centre[:, 1:], torch.zeros_like(self.centre[:, :1])], 1)
        return self._replace(centre=centre, std=torch.full_like(self.std, self.first_std))


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
        found = (weights[:, :, None, None] * samples).sum(1)
        mixed = torch.lerp(found, self.probability, momentum).clamp(min=self.min_probability)
        return self._replace(probability=mixed / mixed.sum(-1, keepdim=True))

    def shift(self) -> Categorical:
        """Begin one decision later, undecided."""
        dim = self.probability.shape[-1]
        later = torch.cat(
            [self.probability[:, 1:], torch.full_like(self.probability[:, :1], 1 / dim)], 1
        )
        return self._replace(probability=0.5 * later + 0.5 / dim)


def undecided(
    action: ActionSpec,
    num_envs: int,
    horizon: int,
    *,
    std: float,
    min_std: float,
    colour: float = 0.0,
    adapt_std: bool = True,
    shrink: float = 1.0,
) -> Distribution:
    """Begin without a plan: the middle of the bounds, or every action alike."""
    shape = (num_envs, horizon, action.dim)
    if action.kind == "discrete":
        return Categorical(torch.full(shape, 1 / action.dim, device=action.low.device))
    centre = torch.zeros(shape, device=action.low.device)
    return Gaussian(centre, torch.full_like(centre, std), std, min_std, colour, adapt_std, shrink)
