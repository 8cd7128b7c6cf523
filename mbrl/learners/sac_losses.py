"""SAC's losses as in the paper, and their gradients by autograd.

sac_fused.py has the same gradients, faster. Losses of seeds that learn side by side are summed: no
parameter is in two of them.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.learners.sac_networks import Batch, Networks, forward, squash, twice
from mbrl.nn.flat import layers


@final
class AutogradGradients:
    """Gradients of SAC's losses, written as in the paper, by autograd.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: entropy of the policy that the temperature is adapted to.
        conservatism: weight of COMBO's term in the critics' loss; 0 is plain SAC.
        num_real: first rows of a batch, which are real: that term raises their values.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        target_entropy: float,
        conservatism: float = 0.0,
        num_real: int = 0,
    ):
        """Store the parameters."""
        self._nets = networks
        self._target_entropy = target_entropy
        self._conservatism, self._num_real = conservatism, num_real

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients of the critics' and the temperature's loss, flat."""
        nets, size = self._nets, batch.reward.shape[1]
        num_obs = nets.actor_sizes[0]
        obs, next_obs = batch.taken[:, :, :num_obs], batch.next_obs
        noise, next_noise = batch.noise.split(size, dim=2)
        base, next_base = batch.noise_log_prob.split(size, dim=1)
        log_temperature = nets.log_temperature.detach().requires_grad_()
        temperature = log_temperature.detach().exp()[:, None]  # (S, 1)

        self._actor = nets.actor.detach().requires_grad_()
        actor = layers(self._actor, nets.num_seeds, nets.actor_sizes)
        self._sample = squash(forward(obs, actor), noise, base)
        entropy_gap = self._sample.log_prob.detach() + self._target_entropy
        temperature_loss = -(log_temperature[:, None] * entropy_gap).mean(1)

        with torch.no_grad():
            next_sample = squash(forward(next_obs, actor), next_noise, next_base)
            pair = torch.cat([next_obs, next_sample.action.mT], 2)
            next_q = self._values(nets.target, pair).amin(1)
            target = batch.reward + batch.discount * (next_q - temperature * next_sample.log_prob)

        critic = nets.critic.detach().requires_grad_()
        q = self._values(critic, batch.taken)
        critic_loss = 0.5 * (q - target[:, None]).square().mean(2).sum(1)
        if self._conservatism and self._num_real < size:  # the policy's actions in imagined states
            pair = torch.cat([obs, self._sample.action.detach().mT], 2)
            imagined = self._values(critic, pair)[:, :, self._num_real :]
            gap = imagined.mean(2) - q[:, :, : self._num_real].mean(2)
            critic_loss = critic_loss + self._conservatism * gap.sum(1)
        self._obs, self._temperature = obs, temperature
        self._metrics = {
            "train/critic_loss": critic_loss.detach(),
            "train/temperature": temperature[:, 0],
            "train/entropy": -self._sample.log_prob.detach().mean(1),
            "train/mean_q": q.detach().mean((1, 2)),
        }
        (critic_gradient,) = torch.autograd.grad(critic_loss.sum(), critic)
        (temperature_gradient,) = torch.autograd.grad(temperature_loss.sum(), log_temperature)
        return critic_gradient, temperature_gradient

    def _values(self, flat: Tensor, pair: Tensor) -> Tensor:
        """Return the values (S, 2, B) of both critics of each seed for pairs (S, B, D + A)."""
        nets = self._nets
        q = forward(twice(pair), layers(flat, 2 * nets.num_seeds, nets.critic_sizes))
        return q.view(nets.num_seeds, 2, -1)

    def actor(self) -> Tensor:
        """Return the actor's gradient on the same batch, through the updated critics."""
        pair = torch.cat([self._obs, self._sample.action.mT], 2)
        q = self._values(self._nets.critic, pair).min(1).values
        loss = (self._temperature * self._sample.log_prob - q).mean(1)
        self._metrics["train/actor_loss"] = loss.detach()
        return torch.autograd.grad(loss.sum(), self._actor)[0]

    def metrics(self) -> dict[str, Tensor]:
        """Return the losses (S,) of the last update."""
        return self._metrics
