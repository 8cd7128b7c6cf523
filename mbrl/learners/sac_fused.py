"""The gradients of SAC's losses with the backward pass written by hand.

The same as autograd gives (mbrl/agents/sac.py has the losses), in about half the time for small
networks: no graph, no memory of size allocated, no gradient that is not needed. An error is the
loss's derivative by the sums of a layer, before its ReLU. Shapes as in mbrl/agents/sac_networks.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.learners.sac_networks import Batch, Layers, Networks, layers, squash

threshold_backward = torch.ops.aten.threshold_backward.grad_input


class ManualMlp:
    """ReLU networks whose forward pass is kept and whose backward pass is written out.

    Args:
        net: N networks of one shape.
        gradients: where backward() writes, of the same shapes.
        num_rows: B, rows of forward().
        num_back: b <= B, the first rows, which backward() takes into account.
    """

    def __init__(self, net: Layers, gradients: Layers, *, num_rows: int, num_back: int):
        """Allocate what the passes write to."""
        *self._hidden, (self._head, self._head_bias) = net
        *self._gradients, (self._head_gradient, self._head_bias_gradient) = gradients
        sizes = [(weight.shape[0], num_rows, weight.shape[2]) for weight, _ in self._hidden]
        self._kept = [self._head.new_empty(size) for size in sizes]  # (N, B, hidden) of each layer
        # views are made once: at small sizes they cost as much as the arithmetic
        self._last = self._kept[-1].mT
        self._num_back = num_back
        self._outputs = [kept[:, :num_back] for kept in self._kept]
        self._errors = [torch.empty_like(output) for output in self._outputs]  # (N, b, hidden)
        self._transposed = [output.mT for output in self._outputs]
        self._weights = [weight.mT for weight, _ in self._hidden]

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate (N, B, in) -> (N, out, B)."""
        self._input = x
        for (weight, bias), kept in zip(self._hidden, self._kept, strict=True):
            x = torch.baddbmm(bias, x, weight, out=kept).relu_()
        return torch.baddbmm(self._head_bias, self._head, self._last)

    def backward(self, error: Tensor, *, weights: bool = True) -> Tensor:
        """Carry errors, d loss / d sums of a layer, from the output to the first layer.

        Args:
            error: of the output (N, out, b).
            weights: also write the gradients of weights and biases.

        Returns:
            Errors of the first layer (N, b, hidden).
        """
        if weights:
            torch.bmm(error, self._outputs[-1], out=self._head_gradient)
            torch.sum(error, 2, keepdim=True, out=self._head_bias_gradient)
        torch.bmm(error.mT, self._head, out=self._errors[-1])
        for k in reversed(range(len(self._errors))):
            error = self._errors[k]
            threshold_backward(error, self._outputs[k], 0, grad_input=error)  # 0 if ReLU is closed
            if weights:
                weight, bias = self._gradients[k]
                below = self._transposed[k - 1] if k else self._input[:, : self._num_back].mT
                torch.bmm(below, error, out=weight)
                torch.sum(error, 1, keepdim=True, out=bias)
            if k:
                torch.bmm(error, self._weights[k], out=self._errors[k - 1])
        return self._errors[0]


class ManualGradients:
    """The same gradients with the backward pass written by hand: no graph, no allocation of size.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: what the temperature drives the policy's entropy to.
        batch_size: B.
    """

    def __init__(self, networks: Networks, *, target_entropy: float, batch_size: int):
        """Allocate gradients and activations."""
        nets = networks
        self._log_temperature = nets.log_temperature
        self._target_entropy = target_entropy
        self._actor_gradient = torch.empty_like(nets.actor)
        self._critic_gradient = torch.empty_like(nets.critic)
        critic, critic_gradient, target = (
            layers(flat, 2, nets.critic_sizes)
            for flat in (nets.critic, self._critic_gradient, nets.target)
        )
        actor, actor_gradient = (
            layers(flat, 1, nets.actor_sizes) for flat in (nets.actor, self._actor_gradient)
        )
        size, num_obs = batch_size, nets.actor_sizes[0]
        self._size = size
        self._actor = ManualMlp(actor, actor_gradient, num_rows=2 * size, num_back=size)
        self._critic = ManualMlp(critic, critic_gradient, num_rows=size, num_back=size)
        self._target = ManualMlp(target, target, num_rows=size, num_back=size)
        self._action_weight = critic[0][0][:, num_obs:]  # (2, A, hidden)

        pairs = nets.actor.new_empty(2 * size, nets.critic_sizes[0])  # obs above next_obs | action
        self._obs, self._next_obs = pairs[:, :num_obs].split(size)
        self._both_obs = pairs[None, :, :num_obs]  # (1, 2B, D)
        self._action = pairs[:, num_obs:].T  # (A, 2B)
        self._pair, self._next_pair = pairs.view(2, 1, size, -1).expand(-1, 2, -1, -1)
        self._lesser = nets.actor.new_empty(2, 1, size)

    @torch.no_grad()
    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the gradients of the critics' and the temperature's loss, flat."""
        size = self._size
        self._temperature = self._log_temperature.exp()

        # the policy's actions at obs (for the actor's loss) and at next_obs (for the target)
        self._obs.copy_(batch.taken[:, : self._obs.shape[1]])
        self._next_obs.copy_(batch.next_obs)
        head = self._actor.forward(self._both_obs)[0]  # (2A, 2B)
        self._sample = squash(head, batch.noise, batch.noise_log_prob)
        self._action.copy_(self._sample.action)
        log_prob, next_log_prob = self._sample.log_prob.split(size)

        next_q = self._target.forward(self._next_pair).amin(0)[0]
        goal = batch.reward + batch.discount * (next_q - self._temperature * next_log_prob)

        # loss = 1/2 sum_k mean_b (q - goal)^2
        self._q = self._critic.forward(batch.taken.expand(2, -1, -1))  # (2, 1, B)
        self._td = self._q - goal
        self._critic.backward(self._td / size)

        # loss = -log_temperature * mean_b (log_prob + target_entropy)
        self._mean_log_prob = log_prob.mean()
        return self._critic_gradient, -(self._mean_log_prob + self._target_entropy).view(1)

    @torch.no_grad()
    def actor(self) -> Tensor:
        """Give the actor's gradient on the same batch, through the critics as they are now."""
        size = self._size

        # loss = mean_b (temperature * log_prob - min_k q); the lesser critic alone passes it on
        self._policy_q = self._critic.forward(self._pair)  # (2, 1, B)
        first, second = self._policy_q
        torch.le(first, second, out=self._lesser[0])
        torch.gt(first, second, out=self._lesser[1])
        error = self._critic.backward(self._lesser / -size, weights=False)
        by_action = torch.bmm(self._action_weight, error.mT).sum(0)  # (A, B)

        # action = tanh(mean + spread), log_prob = ... - sum(log_std + log(safe_slope))
        weight = self._temperature / size
        action, _, spread, slope, safe_slope, clamped = (x[..., :size] for x in self._sample)
        by_mean = slope * (by_action + (2 * weight) * action / safe_slope)
        by_log_std = (by_mean * spread - weight).masked_fill_(clamped, 0)
        self._actor.backward(torch.cat([by_mean, by_log_std])[None])
        return self._actor_gradient

    def metrics(self) -> dict[str, Tensor]:
        """Give the losses of the last update."""
        temperature = self._temperature[0]
        return {
            "train/critic_loss": 0.5 * self._td.square().mean(2).sum(),
            "train/temperature": temperature,
            "train/entropy": -self._mean_log_prob,
            "train/mean_q": self._q.mean(),
            "train/actor_loss": temperature * self._mean_log_prob - self._policy_q.amin(0).mean(),
        }
