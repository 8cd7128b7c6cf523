"""Implicit Q-learning: values of the best actions in the data, never of others."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.learners.batch_learner import BatchLearner, Rows, named
from mbrl.types import ActionSpec

MAX_WEIGHT = 100.0  # of a transition in the actor's loss


@final
class IQL(BatchLearner):
    """Learn by expectile regression and advantage-weighted cloning (Kostrikov et al. 2022).

    The actor is the mean of the paper's Gaussian, whose width is held fixed: weighted least
    squares.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous and bounded.
        generator: source of weights, batches and noise.
        hidden: width of the hidden layers.
        num_layers: hidden layers.
        learning_rate: of Adam.
        discount: per step.
        batch_size: transitions in an update.
        exploration_noise: std of what is added to an action in [-1, 1] that need not be
            deterministic.
        expectile: of the value over the actions of the data; 0.5 is their mean.
        temperature: inverse temperature of the advantages' weights.
        tau: share of the critics that enters their targets in an update.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        generator: torch.Generator,
        hidden: int = 256,
        num_layers: int = 2,
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        batch_size: int = 256,
        exploration_noise: float = 0.1,
        expectile: float = 0.7,
        temperature: float = 3.0,
        tau: float = 5e-3,
    ):
        """Draw critics and value."""
        super().__init__(
            obs_dim=obs_dim,
            action=action,
            generator=generator,
            hidden=hidden,
            num_layers=num_layers,
            learning_rate=learning_rate,
            discount=discount,
            batch_size=batch_size,
            exploration_noise=exploration_noise,
        )
        self._expectile, self._temperature, self._tau = expectile, temperature, tau
        self.critic = self._network(2, self._obs_dim + self._act_dim, 1)
        self.values = self._network(1, self._obs_dim, 1)
        self.target_critic = self.critic.flat.clone()

    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Take a step of value, actor and critics."""
        target_q = self.critic(rows.obs, rows.action, flat=self.target_critic).amin(0)[0]
        weights = self.values.weights()
        advantage = target_q - self.values(rows.obs, flat=weights)[0, 0]
        steep = torch.where(advantage > 0, self._expectile, 1 - self._expectile)
        value_loss = (steep * advantage.square()).mean()
        self.values.descend(value_loss, weights)

        advantage = target_q - self.values(rows.obs)[0, 0]
        trust = (self._temperature * advantage).exp().clamp(max=MAX_WEIGHT)
        weights = self.actor.weights()
        error = (self.policy(rows.obs, weights) - rows.action).square().sum(1)
        actor_loss = (trust * error).mean()
        self.actor.descend(actor_loss, weights)

        goal = rows.reward + rows.discount * self.values(rows.next_obs)[0, 0]
        weights = self.critic.weights()
        q = self.critic(rows.obs, rows.action, flat=weights)[:, 0]
        critic_loss = (q - goal).square().mean(1).sum()
        self.critic.descend(critic_loss, weights)
        self.target_critic.lerp_(self.critic.flat, self._tau)
        losses = {"value_loss": value_loss, "actor_loss": actor_loss, "critic_loss": critic_loss}
        return {name: loss.detach() for name, loss in (losses | {"mean_q": q.mean()}).items()}

    def _value(self, obs: Tensor) -> Tensor:
        """Give the value network's estimate."""
        return self.values(obs)[0, 0]

    def _learned(self) -> dict[str, Tensor]:
        """Name critics, value and target."""
        target = {"target_critic": self.target_critic}
        return target | named("critic", self.critic) | named("value", self.values)
