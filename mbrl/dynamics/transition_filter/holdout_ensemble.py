"""What the data say about leaving them: models that never saw one edge, asked about it.

A whitened axis of (obs, action) has two ends; for each, a split keeps the 20% furthest out away
from small networks. Their predictions there are honest extrapolations whose truth is known: they
choose a judge's settings, and join the pool of candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl.nn.networks import Networks, train
from mbrl.nn.normalizer import Normalizer
from mbrl.types import Transitions

NEAR = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # of a change's deviation: tells good judges apart


class TailHoldoutEnsemble(nn.Module):
    """Small networks for the change of obs, each blind to one edge of the data.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        generator: source of the initial weights.
        per_split: networks for each edge.
        max_axes: whitened axes used, those of the largest variance.
        share: of the rows that an edge holds.
        hidden: width of their two hidden layers.
        num_updates: gradient steps of a fit.
        batch_size: rows of a step, for each network.
    """

    mean: Tensor  # (n,) of (obs, action)
    axes: Tensor  # (A, n) whitened directions
    cuts: Tensor  # (A, 2) where an edge begins, at either end

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        generator: torch.Generator,
        per_split: int = 2,
        max_axes: int = 4,
        share: float = 0.2,
        hidden: int = 64,
        num_updates: int = 2000,
        batch_size: int = 128,
    ):
        """Draw the networks."""
        super().__init__()
        inputs = obs_dim + act_dim
        self.num_axes = min(max_axes, inputs)
        self.per_split = per_split
        self.num_splits = 2 * self.num_axes
        self.networks = Networks(
            [inputs, hidden, hidden, obs_dim], per_split * self.num_splits, generator=generator
        )
        self.inputs, self.targets = Normalizer(inputs), Normalizer(obs_dim, floor=1e-6)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("axes", torch.zeros(self.num_axes, inputs))
        self.register_buffer("cuts", torch.zeros(self.num_axes, 2))
        self._share, self._num_updates, self._batch_size = share, num_updates, batch_size

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Find the edges of the data, and fit each network to the rest."""
        x = torch.cat([data.obs, data.action], 1)
        change = data.next_obs - data.obs
        self.inputs.fit(x)
        self.targets.fit(change)
        z, y = self.inputs(x), self.targets(change)
        self._cut(x)
        cores = [torch.nonzero(~edge)[:, 0] for edge in self.edges(data.obs, data.action)]
        cores = [rows for rows in cores for _ in range(self.per_split)]

        def loss(update: int) -> Tensor:
            draw = torch.rand(
                len(cores), self._batch_size, generator=generator, device=generator.device
            )
            rows = torch.stack(
                [c[(u * len(c)).long()] for c, u in zip(cores, draw, strict=True)]
            )  # (M, n)
            return (self.networks(z[rows]) - y[rows]).square().mean((1, 2)).sum()

        value = train(self.networks, loss, self._num_updates, learning_rate=2e-3)
        return {"model/edge_mse": value / len(cores)}

    def _cut(self, x: Tensor) -> None:
        """Whiten x (B, n); note where each axis's outermost share begins."""
        z = self.inputs(x).double()
        _, values, vectors = torch.linalg.svd(z - z.mean(0), full_matrices=False)
        top = vectors[: self.num_axes]
        sign = torch.sign(top.gather(1, top.abs().argmax(1, keepdim=True)))  # LAPACK's may vary
        self.axes.copy_((top * sign).float())
        self.mean.copy_(z.mean(0))
        along = (self.inputs(x) - self.mean) @ self.axes.T
        ends = torch.tensor([self._share, 1 - self._share], dtype=along.dtype, device=x.device)
        self.cuts.copy_(torch.quantile(along, ends, dim=0).T)

    def edges(self, obs: Tensor, action: Tensor) -> Tensor:
        """Tell which rows of obs (B, obs_dim), action (B, act_dim) lie on each edge: (S, B)."""
        along = (self.inputs(torch.cat([obs, action], 1)) - self.mean) @ self.axes.T  # (B, A)
        low, high = self.cuts[:, :1] > along.T, self.cuts[:, 1:] < along.T
        return torch.cat([low, high])

    @torch.no_grad()
    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """Give each network's successor of obs (B, obs_dim), action (B, act_dim): (M, B, ...)."""
        z = self.inputs(torch.cat([obs, action], 1))
        return obs + self.targets.invert(self.networks(z))

    @torch.no_grad()
    def questions(
        self, data: Transitions, spread: tuple[float, ...], *, generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Ask each edge's networks about it, their answers and the truth perturbed.

        Args:
            data: transitions (B, ...).
            spread: factors k of mean + k (member - mean).
            generator: source of the noise.

        Returns:
            For each edge its rows (n,) and the candidates (K, n, obs_dim).
        """
        found = []
        scale = self.targets.std
        for number, edge in enumerate(self.edges(data.obs, data.action)):
            rows = torch.nonzero(edge)[:, 0]
            everyone = self.predict(data.obs[rows], data.action[rows])
            own = everyone[number * self.per_split : (number + 1) * self.per_split]
            middle = own.mean(0)
            wide = [middle + k * (own - middle) for k in spread]
            shape = (4, *middle.shape)
            noise = torch.randn(shape, generator=generator, device=generator.device) * scale
            shape = (len(NEAR), *middle.shape)
            little = torch.randn(shape, generator=generator, device=generator.device) * scale
            sizes = torch.tensor(NEAR, device=generator.device)[:, None, None]
            near = data.next_obs[rows] + sizes * little
            found.append((rows, torch.cat([middle[None], *wide, middle + 0.1 * noise, near])))
        return found
