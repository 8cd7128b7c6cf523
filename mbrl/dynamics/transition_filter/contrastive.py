"""Contrastive dynamics reward: picks the true successor out of others of the same (obs, action)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.dynamics.transition_filter.base import PointwiseReward, transition_size
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator
from mbrl.nn.minimize import minimize
from mbrl.nn.mlp import MLP
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, NumMembers, Width, checked


@final
class ContrastiveReward(PointwiseReward):
    """Noise-contrastive score of a transition, van den Oord et al. 2018.

    Each true change is to be told from other changes of the same (obs, action), as a filter has
    to: from noise of all sizes around it, from the changes of other rows, and from predictions of
    the tail-holdout ensemble, moved away from their mean.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        num_members: networks whose scores are averaged.
        hidden: width of the two hidden layers.
        num_updates: gradient steps of a fit.
        batch_size: rows of a gradient step.
        num_negatives: other changes of each of the three kinds.
    """

    needs_holdout_ensemble = True

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        generator: torch.Generator | int,
        num_members: NumMembers = 4,
        hidden: Width = 64,
        num_updates: Count = 1000,
        batch_size: Count = 32,
        num_negatives: Count = 6,
    ):
        """Draw the initial weights."""
        generator = as_generator(generator, action.low.device)
        super().__init__()
        width = 2 * obs_dim + action.dim
        self._obs_dim, self._num_members, self._num_updates = obs_dim, num_members, num_updates
        self._batch_size, self._num_negatives = batch_size, num_negatives
        self.networks = MLP([width, hidden, hidden, 1], num_members, generator=generator)
        self.scale = Normalizer(width)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Train to pick the true change; see DynamicsReward.fit.

        Raises:
            BadInput: without a tail-holdout ensemble.
            NumericalFault: if the loss is not finite.
        """
        if holdout_ensemble is None:
            raise BadInput("holdout_ensemble=None: a ContrastiveReward is fitted with one")
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x, of=transition_size(data))
        z = self.scale(x)
        n = z.shape[1] - self._obs_dim
        predictions = holdout_ensemble.predict(data.obs, data.action) - data.obs
        predictions = (predictions - self.scale.mean[n:]) / self.scale.divisor[
            n:
        ]  # (H, N, obs_dim)
        mean = predictions.mean(0)
        members, count, k = self._num_members, self._batch_size, self._num_negatives
        device = generator.device

        def loss(update: int) -> Tensor:
            rows = torch.randint(
                len(z), (members, count), generator=generator, device=device
            )  # (M, n)
            given, change = z[rows][..., :n], z[rows][..., n:]
            size = torch.rand(k, members, count, 1, generator=generator, device=device)
            noise = torch.randn(k, *change.shape, generator=generator, device=device)
            near = change + noise * 10 ** (3 * size - 2.5)  # sizes from 0.003 to 3
            other = torch.randint(len(z), (k, members, count), generator=generator, device=device)
            who = torch.randint(len(predictions), (k,), generator=generator, device=device)
            factor = 1 + 2 * torch.randn(k, 1, 1, 1, generator=generator, device=device)
            hard = mean[rows] + factor * (predictions[who][:, rows] - mean[rows])
            changes = torch.cat([change[None], near, z[other][..., n:], hard])  # (K, M, n, obs_dim)
            inputs = torch.cat([given.expand(len(changes), *given.shape), changes], -1)
            score = self.networks(inputs.transpose(0, 1).flatten(1, 2))[..., 0]
            score = score.view(members, len(changes), count)
            return -score.log_softmax(1)[:, 0].mean(1).sum()

        value = minimize(self.networks, loss, self._num_updates, learning_rate=1e-3)
        return {"model/contrastive_loss": value / members}

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return mean scores (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, ...)."""
        z = self.scale(torch.cat([obs, action, next_obs - obs], 1))
        return self.networks(z)[..., 0].mean(0)
