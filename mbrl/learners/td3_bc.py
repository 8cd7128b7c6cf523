"""TD3+BC: twin delayed actor-critic that is held to the actions of the data."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.learners.batch_learner import BatchLearner, Rows, named
from mbrl.types import ActionSpec


@final
class TD3BC(BatchLearner):
    """Learn by TD3 with a cloning term in the actor's loss (Fujimoto and Gu 2021).

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
        alpha: weight of the critic's value against the cloning term.
        tau: share of the networks that enters their targets in an update.
        policy_delay: updates of the critics to one of the actor.
        target_noise: std of the noise on the target's actions, in [-1, 1].
        noise_clip: largest such noise.
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
        alpha: float = 2.5,
        tau: float = 5e-3,
        policy_delay: int = 2,
        target_noise: float = 0.2,
        noise_clip: float = 0.5,
    ):
        """Draw the critics."""
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
        self._alpha, self._tau, self._delay = alpha, tau, policy_delay
        self._target_noise, self._noise_clip = target_noise, noise_clip
        self.critic = self._network(2, self._obs_dim + self._act_dim, 1)
        self.target_actor = self.actor.flat.clone()
        self.target_critic = self.critic.flat.clone()

    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Take a step of the critics, and of the actor when it is due."""
        noise = torch.randn(rows.action.shape, generator=self._generator, device=rows.action.device)
        noise = (self._target_noise * noise).clamp(-self._noise_clip, self._noise_clip)
        following = (self.policy(rows.next_obs, self.target_actor) + noise).clamp(-1, 1)
        next_q = self.critic(rows.next_obs, following, flat=self.target_critic).amin(0)[0]
        goal = rows.reward + rows.discount * next_q
        weights = self.critic.weights()
        q = self.critic(rows.obs, rows.action, flat=weights)[:, 0]
        loss = (q - goal).square().mean(1).sum()
        self.critic.descend(loss, weights)
        losses = {"critic_loss": loss.detach(), "mean_q": q.detach().mean()}
        if self.updates % self._delay == 0:
            losses["actor_loss"] = self._improve_actor(rows)
            self.target_actor.lerp_(self.actor.flat, self._tau)
            self.target_critic.lerp_(self.critic.flat, self._tau)
        return losses

    def _improve_actor(self, rows: Rows) -> Tensor:
        """Climb the first critic, whose scale is taken out, near the actions of the data."""
        weights = self.actor.weights()
        action = self.policy(rows.obs, weights)
        q = self.critic(rows.obs, action)[0, 0]
        cloning = (action - rows.action).square().mean()
        loss = -self._alpha * q.mean() / q.detach().abs().mean().clamp(min=1e-6) + cloning
        self.actor.descend(loss, weights)
        return loss.detach()

    def _value(self, obs: Tensor) -> Tensor:
        """Give the lesser critic at the policy's action."""
        return self.critic(obs, self.policy(obs)).amin(0)[0]

    def _learned(self) -> dict[str, Tensor]:
        """Name critics and targets."""
        targets = {"target_actor": self.target_actor, "target_critic": self.target_critic}
        return targets | named("critic", self.critic)
