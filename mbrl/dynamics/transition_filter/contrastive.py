"""A dynamics reward that tells the true successor from others of the same (obs, action)."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.dynamics.transition_filter.base import LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.nn.networks import Networks, train
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions


class Contrastive(LearnedDynamicsReward):
    """Reward transitions by a noise-contrastive score, van den Oord et al. 2018.

    Each true change stands against others: noise around it of every size, the changes of other
    rows, and hard ones, the edge members' answers inflated. That is the choice that a filter makes.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        num_members: networks, averaged.
        hidden: width of the two hidden layers.
        num_updates: gradient steps.
        batch_size: rows of a step.
        num_negatives: of each kind.
    """

    needs_edges = True

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        generator: torch.Generator,
        num_members: int = 4,
        hidden: int = 64,
        num_updates: int = 1000,
        batch_size: int = 32,
        num_negatives: int = 6,
    ):
        """Draw the networks."""
        super().__init__()
        width = 2 * obs_dim + action.dim
        self._obs_dim = obs_dim
        self._updates, self._batch_size, self._negatives = num_updates, batch_size, num_negatives
        self.networks = Networks([width, hidden, hidden, 1], num_members, generator=generator)
        self.scale = Normalizer(width, floor=1e-6)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn to pick the true change; see DynamicsReward.fit."""
        assert edges is not None
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x)
        z = self.scale(x)
        n = z.shape[1] - self._obs_dim
        answers = edges.predict(data.obs, data.action) - data.obs  # (M, N, obs_dim)
        answers = (answers - self.scale.mean[n:]) / self.scale.std[n:]
        middle = answers.mean(0)
        members, count, k = len(self.networks.weights[0]), self._batch_size, self._negatives
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
            who = torch.randint(len(answers), (k,), generator=generator, device=device)
            factor = 1 + 2 * torch.randn(k, 1, 1, 1, generator=generator, device=device)
            hard = middle[rows] + factor * (answers[who][:, rows] - middle[rows])
            changes = torch.cat([change[None], near, z[other][..., n:], hard])  # (K, M, n, obs_dim)
            asked = torch.cat([given.expand(len(changes), *given.shape), changes], -1)
            score = self.networks(asked.transpose(0, 1).flatten(1, 2))[..., 0]
            score = score.view(members, len(changes), count)
            return -score.log_softmax(1)[:, 0].mean(1).sum()

        value = train(self.networks, loss, self._updates, learning_rate=1e-3)
        return {"model/contrastive_loss": value / members}

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the members' mean score (N,)."""
        z = self.scale(torch.cat([obs, action, next_obs - obs], 1))
        return self.networks(z)[..., 0].mean(0)
