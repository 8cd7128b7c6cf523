"""TD3+BC: twin delayed actor-critic with a cloning term."""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from annotated_types import Gt, Le
from torch import Tensor

from mbrl.learners.batch_learner import BatchLearner, Rows, named
from mbrl.nn.normalizer import divisor
from mbrl.values import Count, NonNegative, checked


@final
class TD3BC(BatchLearner):
    """TD3 with a cloning term in the actor's loss (Fujimoto and Gu 2021).

    Args:
        alpha: weight of the normalized critic value against the cloning term.
        tau: step of the target networks towards the networks at each update of the actor.
        policy_delay: updates of the critics for one of the actor.
        target_noise: standard deviation of the noise on the target's actions, in [-1, 1].
        noise_clip: largest such noise.
        common: the parameters of BatchLearner.
    """

    @checked
    def __init__(
        self,
        *,
        alpha: NonNegative = 2.5,
        tau: Annotated[float, Gt(0), Le(1)] = 5e-3,
        policy_delay: Count = 2,
        target_noise: NonNegative = 0.2,
        noise_clip: NonNegative = 0.5,
        **common: Any,
    ):
        """Initialize the critics."""
        super().__init__(**common)
        self._alpha, self._tau, self._policy_delay = alpha, tau, policy_delay
        self._target_noise, self._noise_clip = target_noise, noise_clip
        self.critic = self._network(2, self._obs_dim + self._act_dim, 1)
        self.target_actor = self.actor.flat.clone()
        self.target_critic = self.critic.flat.clone()

    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Update the critics on a batch, and the actor when it is due; return the losses."""
        noise = torch.randn(rows.action.shape, generator=self._generator, device=rows.action.device)
        noise = (self._target_noise * noise).clamp(-self._noise_clip, self._noise_clip)
        next_action = (self.policy(rows.next_obs, self.target_actor) + noise).clamp(-1, 1)
        next_q = self.critic(rows.next_obs, next_action, flat=self.target_critic).amin(0)[0]
        target = rows.reward + rows.discount * next_q
        weights = self.critic.weights()
        q = self.critic(rows.obs, rows.action, flat=weights)[:, 0]
        loss = (q - target).square().mean(1).sum()
        self.critic.descend(loss, weights)
        losses = {"critic_loss": loss.detach(), "mean_q": q.detach().mean()}
        if self.updates % self._policy_delay == 0:
            losses["actor_loss"] = self._update_actor(rows)
            self.target_actor.lerp_(self.actor.flat, self._tau)
            self.target_critic.lerp_(self.critic.flat, self._tau)
        return losses

    def _update_actor(self, rows: Rows) -> Tensor:
        """Update the actor: maximize alpha Q / mean |Q|, minus the squared error of cloning."""
        weights = self.actor.weights()
        action = self.policy(rows.obs, weights)
        q = self.critic(rows.obs, action)[0, 0]
        cloning = (action - rows.action).square().mean()
        unit = divisor(q.detach().abs().mean())  # a critic of 0 everywhere has no say
        loss = -self._alpha * q.mean() / unit + cloning
        self.actor.descend(loss, weights)
        return loss.detach()

    def _value(self, obs: Tensor) -> Tensor:
        """Return the smaller critic value (B,) of the policy's action."""
        return self.critic(obs, self.policy(obs)).amin(0)[0]

    def _learned(self) -> dict[str, Tensor]:
        """Return critics and target networks by name."""
        targets = {"target_actor": self.target_actor, "target_critic": self.target_critic}
        return targets | named("critic", self.critic)
