"""Tail-holdout ensemble: networks that are fitted without one tail of the data each.

The tails are the outer 20% of the rows at either end of each principal axis of (obs, action). On
the tail that a network did not see it extrapolates, and the true successors are known. So its
predictions there measure how a dynamics reward would choose outside the data; elsewhere they are
candidates for a filter.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, final

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from mbrl.nn.minimize import minimize
from mbrl.nn.mlp import MLP
from mbrl.nn.normalizer import Normalizer, size
from mbrl.types import Transitions
from mbrl.values import Count, CountOrZero, Width, checked

# noise around the true successor, in standard deviations of a change: sizes that only an accurate
# reward tells apart
SMALL_NOISE = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


class TailCandidates(NamedTuple):
    """Candidates of the rows of one tail, from the networks that did not see it."""

    rows: Tensor  # (n,) int64 indices into the data
    next_obs: Tensor  # (K, n, obs_dim)


@final
class TailHoldoutEnsemble(nn.Module):
    """Small networks for the change of obs, each fitted without one tail of the data.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        generator: source of the initial weights.
        members_per_tail: networks that are fitted without the same tail.
        max_axes: principal axes used, those of the largest variance; each has two tails.
        tail_fraction: share of the rows in each tail.
        hidden: width of the two hidden layers.
        num_updates: gradient steps of a fit.
        batch_size: rows of a gradient step, for each network.
    """

    mean: Tensor  # (n,) of (obs, action), standardized
    axes: Tensor  # (A, n) principal axes, the largest first
    cuts: Tensor  # (A, 2) where the lower and the upper tail begin

    @checked
    def __init__(
        self,
        obs_dim: Count,
        act_dim: CountOrZero,
        *,
        generator: torch.Generator,
        members_per_tail: Count = 2,
        max_axes: Count = 4,
        tail_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.2,
        hidden: Width = 64,
        num_updates: Count = 2000,
        batch_size: Count = 128,
    ):
        """Draw the initial weights."""
        super().__init__()
        inputs = obs_dim + act_dim
        self.num_axes = min(max_axes, inputs)
        self.members_per_tail = members_per_tail
        self.networks = MLP(
            [inputs, hidden, hidden, obs_dim],
            members_per_tail * 2 * self.num_axes,
            generator=generator,
        )
        self.inputs, self.targets = Normalizer(inputs), Normalizer(obs_dim)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("axes", torch.zeros(self.num_axes, inputs))
        self.register_buffer("cuts", torch.zeros(self.num_axes, 2))
        self._tail_fraction = tail_fraction
        self._num_updates, self._batch_size = num_updates, batch_size

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Find the tails of transitions (B, ...), and fit each network to the rows outside its own.

        Args:
            data: transitions (B, ...).
            generator: source of the batches.

        Returns:
            Metrics.
        """
        x = torch.cat([data.obs, data.action], 1)
        change = data.next_obs - data.obs
        self.inputs.fit(x)
        self.targets.fit(change, of=size(data.obs))
        z, y = self.inputs(x), self.targets(change)
        self._fit_axes(x)
        cores = [torch.nonzero(~tail)[:, 0] for tail in self.tails(data.obs, data.action)]
        cores = [rows for rows in cores for _ in range(self.members_per_tail)]  # one a network

        def loss(update: int) -> Tensor:
            uniform = torch.rand(
                len(cores), self._batch_size, generator=generator, device=generator.device
            )
            rows = torch.stack(
                [core[(u * len(core)).long()] for core, u in zip(cores, uniform, strict=True)]
            )  # (M, n)
            return (self.networks(z[rows]) - y[rows]).square().mean((1, 2)).sum()

        value = minimize(self.networks, loss, self._num_updates, learning_rate=2e-3)
        return {"model/tail_holdout_mse": value / len(cores)}

    def _fit_axes(self, x: Tensor) -> None:
        """Compute the principal axes of x (B, n), and where their tails begin."""
        z = self.inputs(x).double()
        _, _, vectors = torch.linalg.svd(z - z.mean(0), full_matrices=False)
        top = vectors[: self.num_axes]
        sign = torch.sign(top.gather(1, top.abs().argmax(1, keepdim=True)))  # LAPACK's may vary
        self.axes.copy_((top * sign).float())
        self.mean.copy_(z.mean(0))
        along = (self.inputs(x) - self.mean) @ self.axes.T
        ends = torch.tensor(
            [self._tail_fraction, 1 - self._tail_fraction], dtype=along.dtype, device=x.device
        )
        self.cuts.copy_(torch.quantile(along, ends, dim=0).T)

    def tails(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return which rows of obs (B, obs_dim), action (B, act_dim) lie in each tail.

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).

        Returns:
            (2 A, B) bool: the lower tails of all axes, then the upper ones.
        """
        along = (self.inputs(torch.cat([obs, action], 1)) - self.mean) @ self.axes.T  # (B, A)
        low, high = self.cuts[:, :1] > along.T, self.cuts[:, 1:] < along.T
        return torch.cat([low, high])

    @torch.no_grad()
    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """Predict next_obs (M, B, obs_dim) of obs (B, obs_dim), action (B, act_dim)."""
        z = self.inputs(torch.cat([obs, action], 1))
        return obs + self.targets.invert(self.networks(z))

    @torch.no_grad()
    def tail_candidates(
        self, data: Transitions, spread: tuple[float, ...], *, generator: torch.Generator
    ) -> list[TailCandidates]:
        """Sample candidates in each tail, around its networks' predictions and around the truth.

        Args:
            data: transitions (B, ...).
            spread: factors k of mean + k (member - mean), over the tail's networks.
            generator: source of the noise.

        Returns:
            The candidates of each tail.
        """
        candidates = []
        scale = self.targets.std
        for number, tail in enumerate(self.tails(data.obs, data.action)):
            rows = torch.nonzero(tail)[:, 0]
            predictions = self.predict(data.obs[rows], data.action[rows])
            first = number * self.members_per_tail
            own = predictions[first : first + self.members_per_tail]
            mean = own.mean(0)
            wide = [mean + k * (own - mean) for k in spread]
            shape = (4, *mean.shape)
            noise = torch.randn(shape, generator=generator, device=generator.device) * scale
            shape = (len(SMALL_NOISE), *mean.shape)
            small = torch.randn(shape, generator=generator, device=generator.device) * scale
            sizes = torch.tensor(SMALL_NOISE, device=generator.device)[:, None, None]
            near = data.next_obs[rows] + sizes * small
            next_obs = torch.cat([mean[None], *wide, mean + 0.1 * noise, near])
            candidates.append(TailCandidates(rows, next_obs))
        return candidates
