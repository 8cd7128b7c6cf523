"""Implicit Q-learning: values of the best actions in the data, never of other actions."""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from annotated_types import Gt, Le, Lt
from torch import Tensor

from mbrl.learners.batch_learner import BatchLearner, Rows, named
from mbrl.values import NonNegative, checked

MAX_WEIGHT = 100.0  # of a transition in the actor's loss


@final
class IQL(BatchLearner):
    """Expectile regression and advantage-weighted cloning (Kostrikov et al. 2022).

    The actor is the mean of the paper's Gaussian, whose width is held fixed: weighted least
    squares.

    Args:
        expectile: of the value over the actions of the data; 0.5 is their mean.
        temperature: inverse temperature of the advantage weights.
        tau: step of the target critics towards the critics at each update.
        common: the parameters of BatchLearner.
    """

    @checked
    def __init__(
        self,
        *,
        expectile: Annotated[float, Gt(0), Lt(1)] = 0.7,
        temperature: NonNegative = 3.0,
        tau: Annotated[float, Gt(0), Le(1)] = 5e-3,
        **common: Any,
    ):
        """Initialize critics and value."""
        super().__init__(**common)
        self._expectile, self._temperature, self._tau = expectile, temperature, tau
        self.critic = self._network(2, self._obs_dim + self._act_dim, 1)
        self.values = self._network(1, self._obs_dim, 1)
        self.target_critic = self.critic.flat.clone()

    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Update value, actor and critics on a batch; return the losses."""
        target_q = self.critic(rows.obs, rows.action, flat=self.target_critic).amin(0)[0]
        weights = self.values.weights()
        advantage = target_q - self.values(rows.obs, flat=weights)[0, 0]
        asymmetry = torch.where(advantage > 0, self._expectile, 1 - self._expectile)
        value_loss = (asymmetry * advantage.square()).mean()
        self.values.descend(value_loss, weights)

        advantage = target_q - self.values(rows.obs)[0, 0]
        cloning_weight = (self._temperature * advantage).exp().clamp(max=MAX_WEIGHT)
        weights = self.actor.weights()
        error = (self.policy(rows.obs, weights) - rows.action).square().sum(1)
        actor_loss = (cloning_weight * error).mean()
        self.actor.descend(actor_loss, weights)

        target = rows.reward + rows.discount * self.values(rows.next_obs)[0, 0]
        weights = self.critic.weights()
        q = self.critic(rows.obs, rows.action, flat=weights)[:, 0]
        critic_loss = (q - target).square().mean(1).sum()
        self.critic.descend(critic_loss, weights)
        self.target_critic.lerp_(self.critic.flat, self._tau)
        losses = {"value_loss": value_loss, "actor_loss": actor_loss, "critic_loss": critic_loss}
        return {name: loss.detach() for name, loss in (losses | {"mean_q": q.mean()}).items()}

    def _value(self, obs: Tensor) -> Tensor:
        """Return the value network's estimates (B,)."""
        return self.values(obs)[0, 0]

    def _learned(self) -> dict[str, Tensor]:
        """Return critics, value and target network by name."""
        targets = {"target_critic": self.target_critic}
        return targets | named("critic", self.critic) | named("value", self.values)
