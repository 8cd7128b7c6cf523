"""Gradients of SAC's losses with the backward pass written by hand; the losses are in sac.py.

They equal those of autograd and take about half the time for small networks: there is no graph, no
large memory is allocated, and no gradient is computed that is not needed. An error is the
derivative of the loss with respect to a layer before its ReLU. Shapes are those of sac_networks.py.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.learners.sac_networks import Batch, Networks, squash, twice
from mbrl.nn.flat import Layers, layers

threshold_backward = torch.ops.aten.threshold_backward.grad_input


@final
class ManualMlp:
    """ReLU networks with a backward pass written by hand.

    Args:
        net: N networks of one shape.
        gradients: where backward() writes the gradients, of the same shapes.
        num_rows: B, rows of forward(); its activations are stored.
        num_back: b <= B, the first rows, for which backward() is computed.
    """

    def __init__(self, net: Layers, gradients: Layers, *, num_rows: int, num_back: int):
        """Allocate activations and errors."""
        *self._hidden, (self._head, self._head_bias) = net
        *self._gradients, (self._head_gradient, self._head_bias_gradient) = gradients
        sizes = [(weight.shape[0], num_rows, weight.shape[2]) for weight, _ in self._hidden]
        self._activations = [
            self._head.new_empty(size) for size in sizes
        ]  # (N, B, hidden) of each layer
        # views are created once: at small sizes they cost as much as the arithmetic
        self._last = self._activations[-1].mT
        self._num_back = num_back
        self._outputs = [x[:, :num_back] for x in self._activations]
        self._errors = [torch.empty_like(output) for output in self._outputs]  # (N, b, hidden)
        self._transposed = [output.mT for output in self._outputs]
        self._weights = [weight.mT for weight, _ in self._hidden]

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, out, B) for x (N, B, in)."""
        self._input = x
        for (weight, bias), out in zip(self._hidden, self._activations, strict=True):
            x = torch.baddbmm(bias, x, weight, out=out).relu_()
        return torch.baddbmm(self._head_bias, self._head, self._last)

    def backward(self, error: Tensor, *, weights: bool = True) -> Tensor:
        """Propagate errors from the output to the first layer.

        Args:
            error: of the output (N, out, b).
            weights: whether the gradients of weights and biases are written.

        Returns:
            Errors of the first layer (N, b, hidden).
        """
        if weights:
            torch.bmm(error, self._outputs[-1], out=self._head_gradient)
            torch.sum(error, 2, keepdim=True, out=self._head_bias_gradient)
        torch.bmm(error.mT, self._head, out=self._errors[-1])
        for k in reversed(range(len(self._errors))):
            error = self._errors[k]
            threshold_backward(
                error, self._outputs[k], 0, grad_input=error
            )  # 0 where the ReLU is inactive
            if weights:
                weight, bias = self._gradients[k]
                below = self._transposed[k - 1] if k else self._input[:, : self._num_back].mT
                torch.bmm(below, error, out=weight)
                torch.sum(error, 1, keepdim=True, out=bias)
            if k:
                torch.bmm(error, self._weights[k], out=self._errors[k - 1])
        return self._errors[0]


@final
class ManualGradients:
    """Gradients of SAC's losses with a backward pass written by hand.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: entropy of the policy that the temperature is adapted to.
        batch_size: B.
    """

    def __init__(self, networks: Networks, *, target_entropy: float, batch_size: int):
        """Allocate gradients and activations."""
        nets = networks
        self._log_temperature = nets.log_temperature[:, None]  # (S, 1)
        self._target_entropy = target_entropy
        self._actor_gradient = torch.empty_like(nets.actor)
        self._critic_gradient = torch.empty_like(nets.critic)
        seeds, size, num_obs = nets.num_seeds, batch_size, nets.actor_sizes[0]
        critic, critic_gradient, target = (
            layers(flat, 2 * seeds, nets.critic_sizes)
            for flat in (nets.critic, self._critic_gradient, nets.target)
        )
        actor, actor_gradient = (
            layers(flat, seeds, nets.actor_sizes) for flat in (nets.actor, self._actor_gradient)
        )
        self._size = size
        self._actor = ManualMlp(actor, actor_gradient, num_rows=2 * size, num_back=size)
        self._critic = ManualMlp(critic, critic_gradient, num_rows=size, num_back=size)
        self._target = ManualMlp(target, target, num_rows=size, num_back=size)
        self._action_weight = critic[0][0][:, num_obs:]  # (2 S, A, hidden)

        # obs above next_obs | action
        pairs = nets.actor.new_empty(seeds, 2 * size, nets.critic_sizes[0])
        self._both_obs = pairs[:, :, :num_obs]  # (S, 2B, D)
        self._obs, self._next_obs = self._both_obs.split(size, 1)
        self._action = pairs[:, :, num_obs:].mT  # (S, A, 2B)
        self._pair, self._next_pair = pairs.split(size, 1)
        self._smaller = nets.actor.new_empty(seeds, 2, size)

    @torch.no_grad()
    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients of the critics' and the temperature's loss, flat."""
        size = self._size
        self._temperature = self._log_temperature.exp()  # (S, 1)

        # the policy's actions at obs (for the actor's loss) and at next_obs (for the target)
        self._obs.copy_(batch.taken[:, :, : self._obs.shape[2]])
        self._next_obs.copy_(batch.next_obs)
        head = self._actor.forward(self._both_obs)  # (S, 2A, 2B)
        self._sample = squash(head, batch.noise, batch.noise_log_prob)
        self._action.copy_(self._sample.action)
        log_prob, next_log_prob = self._sample.log_prob.split(size, 1)

        next_q = self._of_seeds(self._target.forward(twice(self._next_pair))).amin(1)
        target = batch.reward + batch.discount * (next_q - self._temperature * next_log_prob)

        # loss = 1/2 sum_k mean_b (q - target)^2
        self._q = self._of_seeds(self._critic.forward(twice(batch.taken)))  # (S, 2, B)
        self._td = self._q - target[:, None]
        self._critic.backward((self._td / size).view(-1, 1, size))

        # loss = -log_temperature * mean_b (log_prob + target_entropy)
        self._mean_log_prob = log_prob.mean(1)
        return self._critic_gradient, -(self._mean_log_prob + self._target_entropy)

    @torch.no_grad()
    def actor(self) -> Tensor:
        """Return the actor's gradient on the same batch, through the updated critics."""
        size = self._size

        # loss = mean_b (temperature * log_prob - min_k q); only the smaller critic has a gradient
        self._policy_q = self._of_seeds(self._critic.forward(twice(self._pair)))  # (S, 2, B)
        first, second = self._policy_q.unbind(1)
        torch.le(first, second, out=self._smaller[:, 0])
        torch.gt(first, second, out=self._smaller[:, 1])
        error = self._critic.backward((self._smaller / -size).view(-1, 1, size), weights=False)
        by_critic = torch.bmm(self._action_weight, error.mT)  # (2 S, A, B)
        by_action = by_critic.view(-1, 2, *by_critic.shape[1:]).sum(1)  # (S, A, B)

        # action = tanh(mean + spread), log_prob = ... - sum(log_std + log(safe_slope))
        weight = (self._temperature / size)[..., None]
        action, _, spread, slope, safe_slope, clamped = (x[..., :size] for x in self._sample)
        by_mean = slope * (by_action + (2 * weight) * action / safe_slope)
        by_log_std = (by_mean * spread - weight).masked_fill_(clamped, 0)
        self._actor.backward(torch.cat([by_mean, by_log_std], 1))
        return self._actor_gradient

    def _of_seeds(self, q: Tensor) -> Tensor:
        """Return values (2 S, 1, B) of the critics seed by seed: (S, 2, B)."""
        return q.view(-1, 2, self._size)

    def metrics(self) -> dict[str, Tensor]:
        """Return the losses (S,) of the last update."""
        temperature = self._temperature[:, 0]
        least = self._policy_q.amin(1)
        return {
            "train/critic_loss": 0.5 * self._td.square().mean(2).sum(1),
            "train/temperature": temperature,
            "train/entropy": -self._mean_log_prob,
            "train/mean_q": self._q.mean((1, 2)),
            "train/actor_loss": temperature * self._mean_log_prob - least.mean(1),
        }
