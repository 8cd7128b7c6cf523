"""SAC's losses as in the paper, and their gradients by autograd.

sac_fused.py has the same gradients, faster. Losses of seeds that learn side by side are summed: no
parameter is in two of them.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.learners.sac_networks import Batch, Networks, forward, squash
from mbrl.nn.flat import layers


@final
class AutogradGradients:
    """Gradients of SAC's losses, written as in the paper, by autograd.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: entropy of the policy that the temperature is adapted to.
        conservatism: weight of COMBO's term in the critics' loss; 0 is plain SAC.
        num_real: first rows of a batch, which are real: that term raises their values.
        bfloat16: whether large products between hidden layers are computed in bfloat16.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        target_entropy: float,
        conservatism: float = 0.0,
        num_real: int = 0,
        bfloat16: bool = False,
    ):
        """Store the parameters."""
        self._bfloat16 = bfloat16
        self._nets = networks
        self._target_entropy = target_entropy
        self._conservatism, self._num_real = conservatism, num_real

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients of the critics' and the temperature's loss, flat."""
        nets, size = self._nets, batch.reward.shape[1]
        obs, next_obs = batch.obs, batch.next_obs
        noise, next_noise = batch.noise.split(size, dim=2)
        base, next_base = batch.noise_log_prob.split(size, dim=1)
        log_temperature = nets.log_temperature.detach().requires_grad_()
        temperature = log_temperature.detach().exp()[:, None]  # (S, 1)

        self._actor = nets.actor.detach().requires_grad_()
        actor = layers(self._actor, nets.num_seeds, nets.actor_sizes)
        self._sample = squash(forward(obs, actor, bfloat16=self._bfloat16), noise, base)
        entropy_gap = self._sample.log_prob.detach() + self._target_entropy
        temperature_loss = -(log_temperature[:, None] * entropy_gap).mean(1)

        with torch.no_grad():
            next_head = forward(next_obs, actor, bfloat16=self._bfloat16)
            next_sample = squash(next_head, next_noise, next_base)
            next_q = self._values(nets.target, self._pair(next_obs, next_sample.action)).amin(1)
            target = batch.reward + batch.discount * (next_q - temperature * next_sample.log_prob)

        critic = nets.critic.detach().requires_grad_()
        q = self._values(critic, batch.of_critics)
        critic_loss = 0.5 * (q - target[:, None]).square().mean(2).sum(1)
        if self._conservatism and self._num_real < size:  # the policy's actions in imagined states
            pair = self._pair(obs, self._sample.action.detach())
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

    @staticmethod
    def _pair(obs: Tensor, action: Tensor) -> Tensor:
        """Return obs (S, B, D) with actions (S, A, B), for each critic: (2 S, B, D + A)."""
        return torch.cat([obs, action.mT], 2)[:, None].expand(-1, 2, -1, -1).flatten(0, 1)

    def _values(self, flat: Tensor, pair: Tensor) -> Tensor:
        """Return the values (S, 2, B) of both critics of each seed for pairs (2 S, B, D + A)."""
        nets = self._nets
        net = layers(flat, 2 * nets.num_seeds, nets.critic_sizes)
        q = forward(pair, net, bfloat16=self._bfloat16)
        return q.view(nets.num_seeds, 2, -1)

    def actor(self) -> Tensor:
        """Return the actor's gradient on the same batch, through the updated critics."""
        pair = self._pair(self._obs, self._sample.action)
        q = self._values(self._nets.critic, pair).min(1).values
        loss = (self._temperature * self._sample.log_prob - q).mean(1)
        self._metrics["train/actor_loss"] = loss.detach()
        return torch.autograd.grad(loss.sum(), self._actor)[0]

    def metrics(self) -> dict[str, Tensor]:
        """Return the losses (S,) of the last update."""
        return self._metrics
