"""Gradients of SAC's losses with the backward pass written by hand; sac_losses.py has the losses.

They equal those of autograd and take less than half the time for small networks: there is no
graph, memory is allocated once, and no gradient is computed that is not needed. An error is the
derivative of the loss with respect to a layer before its ReLU. Shapes are those of sac_networks.py.
"""

from __future__ import annotations

from typing import Protocol, final

import torch
from torch import Tensor

from mbrl.learners.sac_networks import EPSILON, LOG_STD_MAX, LOG_STD_MIN, Batch, Networks
from mbrl.nn.flat import Layers, layers
from mbrl.nn.products import bfloat16_pays, products_of

threshold_backward = torch.ops.aten.threshold_backward.grad_input


class _Layer(Protocol):
    """Hidden layer of N networks, its ReLU included: its memory and its gradients.

    Attributes:
        outputs: (N, B, out), of forward().
        errors: (N, b, out), of the outputs; the layer above writes them, backward() changes them.
    """

    outputs: Tensor
    errors: Tensor

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the outputs (N, B, out) for x (N, B, in)."""
        ...

    def backward(self, inputs: Tensor | None) -> None:
        """Propagate the errors through the ReLU, and to the layer below if there is one.

        Args:
            inputs: those of forward(), transposed, (N, in, b), for the gradients of weights and
                biases; None: these are not written.
        """
        ...


@final
class _Float32Layer:
    """Hidden layer whose products are those of its tensors' type."""

    def __init__(
        self,
        weight: Tensor,
        gradients: tuple[Tensor, Tensor],
        below: _Layer | None,
        *,
        num_rows: int,
        num_back: int,
    ):
        """Allocate outputs and errors."""
        num, fan_in, fan_out = weight.shape
        self._gradient, self._bias_gradient = gradients
        self._transposed = weight.mT
        self._below = None if below is None else below.errors
        self.outputs = weight.new_empty(num, num_rows, fan_out)
        self.errors = weight.new_empty(num, num_back, fan_out)
        self._outputs = self.outputs[:, :num_back]
        self._forward = products_of(num, num_rows, fan_in, fan_out)
        self._backward = products_of(num, num_back, fan_in, fan_out)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the outputs (N, B, out) for x (N, B, in)."""
        with self._forward:
            torch.baddbmm(bias, x, weight, out=self.outputs)
        return self.outputs.relu_()

    def backward(self, inputs: Tensor | None) -> None:
        """Propagate the errors; see _Layer."""
        errors = self.errors
        threshold_backward(errors, self._outputs, 0, grad_input=errors)
        with self._backward:
            if inputs is not None:
                torch.bmm(inputs, errors, out=self._gradient)
                torch.sum(errors, 1, keepdim=True, out=self._bias_gradient)
            if self._below is not None:
                torch.bmm(errors, self._transposed, out=self._below)


@final
class _BFloat16Layer:
    """Hidden layer above another one, whose products are of factors rounded to bfloat16.

    They are rounded too; the sums in them, biases, ReLUs and the gradients' sums are float32.
    """

    def __init__(
        self,
        weight: Tensor,
        gradients: tuple[Tensor, Tensor],
        below: _Layer,
        *,
        num_rows: int,
        num_back: int,
    ):
        """Allocate outputs, errors and what is rounded."""
        num, fan_in, fan_out = weight.shape
        self._gradient, self._bias_gradient = gradients
        self._below = below.errors
        self.outputs = weight.new_empty(num, num_rows, fan_out)
        self.errors = weight.new_empty(num, num_back, fan_out)
        self._outputs = self.outputs[:, :num_back]
        self._rounded_weight = torch.empty_like(weight, dtype=torch.bfloat16)
        rounded = self._rounded_weight.new_empty
        self._rounded_input = rounded(num, num_rows, fan_in)
        self._rounded_output = rounded(num, num_rows, fan_out)
        self._rounded_errors = rounded(num, num_back, fan_out)
        self._rounded_below = rounded(num, num_back, fan_in)
        self._rounded_gradient = rounded(num, fan_in, fan_out)
        self._transposed = self._rounded_weight.mT
        self._inputs = self._rounded_input[:, :num_back].mT

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the outputs (N, B, out) for x (N, B, in)."""
        self._rounded_input.copy_(x)
        self._rounded_weight.copy_(weight)
        torch.bmm(self._rounded_input, self._rounded_weight, out=self._rounded_output)
        return self.outputs.copy_(self._rounded_output).add_(bias).relu_()

    def backward(self, inputs: Tensor | None) -> None:
        """Propagate the errors; see _Layer. The inputs are those that forward() rounded."""
        errors = self.errors
        threshold_backward(errors, self._outputs, 0, grad_input=errors)
        self._rounded_errors.copy_(errors)
        if inputs is not None:
            torch.bmm(self._inputs, self._rounded_errors, out=self._rounded_gradient)
            self._gradient.copy_(self._rounded_gradient)
            torch.sum(errors, 1, keepdim=True, out=self._bias_gradient)
        torch.bmm(self._rounded_errors, self._transposed, out=self._rounded_below)
        self._below.copy_(self._rounded_below)


@final
class ManualMlp:
    """ReLU networks with a backward pass written by hand.

    Args:
        net: N networks of one shape.
        gradients: where backward() writes the gradients, of the same shapes.
        num_rows: B, rows of forward(); its activations are stored.
        num_back: b <= B, the first rows, for which backward() is computed.
        bfloat16: whether large products between hidden layers are computed in bfloat16.

    Attributes:
        errors: (N, out, b) of the outputs, which backward() reads.
        first_errors: (N, b, hidden) of the first layer, which backward() writes.
    """

    def __init__(
        self,
        net: Layers,
        gradients: Layers,
        *,
        num_rows: int,
        num_back: int,
        bfloat16: bool = False,
    ):
        """Allocate activations and errors."""
        self._net = net
        self._head, _ = net[-1]
        self._head_gradient, self._head_bias_gradient = gradients[-1]
        rows = {"num_rows": num_rows, "num_back": num_back}
        self._layers: list[_Layer] = []
        below = None
        for (weight, _), own in zip(net[:-1], gradients[:-1], strict=True):
            if bfloat16 and below and bfloat16_pays(num_back, *weight.shape[1:]):
                below = _BFloat16Layer(weight, own, below, **rows)
            else:
                below = _Float32Layer(weight, own, below, **rows)
            self._layers.append(below)
        self.errors = self._head.new_empty(*self._head.shape[:2], num_back)
        self.first_errors = self._layers[0].errors
        # views are created once: at small sizes they cost as much as the arithmetic
        self._last, last = self._layers[-1], self._layers[-1].outputs
        self._errors, self._outputs, self._outputs_back = (
            self.errors.mT,
            last.mT,
            last[:, :num_back],
        )
        self._downwards = [
            (layer, under.outputs[:, :num_back].mT)
            for layer, under in zip(self._layers[:0:-1], self._layers[-2::-1], strict=True)
        ]
        # with one output the errors of the last layer are a product without sums
        self._spread = torch.mul if self._head.shape[1] == 1 else torch.bmm
        self._products = products_of(num_rows, self._head.numel())

    def forward(self, x: Tensor, *, out: Tensor, net: Layers | None = None) -> Tensor:
        """Return the outputs (N, out, B) for x (N, B, in).

        Args:
            x: the inputs.
            out: where they are written (N, out, B).
            net: other networks of these shapes, before which no backward() follows.
        """
        *hidden, (head, head_bias) = net or self._net
        for layer, (weight, bias) in zip(self._layers, hidden, strict=True):
            x = layer.forward(x, weight, bias)
        with self._products:
            return torch.baddbmm(head_bias, head, self._outputs, out=out)

    def backward(self, inputs: Tensor | None) -> None:
        """Propagate the errors from the output to the first layer.

        Args:
            inputs: those of forward(), transposed, (N, in, b), for the gradients of weights and
                biases; None: these are not written.
        """
        with self._products:
            if inputs is not None:
                torch.bmm(self.errors, self._outputs_back, out=self._head_gradient)
                torch.sum(self.errors, 2, keepdim=True, out=self._head_bias_gradient)
            self._spread(self._errors, self._head, out=self._last.errors)
        for layer, between in self._downwards:
            layer.backward(None if inputs is None else between)
        self._layers[0].backward(inputs)


@final
class ManualSquash:
    """Actions of a tanh-Gaussian policy, and the gradient of its loss; see sac_networks.squash.

    Args:
        head: means above log standard deviations (S, 2A, 2B), which forward() reads.
        errors: of the first half of them (S, 2A, B), which backward() writes.

    Attributes:
        action: (S, A, 2B) in [-1, 1].
        log_prob: (S, 2B).
    """

    def __init__(self, head: Tensor, errors: Tensor):
        """Allocate what both passes share."""
        self._mean, self._raw = head.chunk(2, 1)
        self._log_std, self._spread, self.action, self._slope, self._safe_slope, self._log = (
            torch.empty_like(self._mean) for _ in range(6)
        )
        self.log_prob = self._mean[:, 0].clone()
        # numbers as tensors: torch would make a tensor of each at each use
        self._one, self._epsilon = head.new_tensor(1.0), head.new_tensor(EPSILON)
        size = errors.shape[2]
        shared = (self.action, self._spread, self._slope, self._safe_slope, self._raw)
        self._first_half = [x[..., :size] for x in (*shared, self._log_std)]
        self._by_mean, self._by_log_std = errors.chunk(2, 1)
        self._ratio = torch.empty_like(self._by_mean)
        self._clamped = torch.empty_like(self._by_mean, dtype=torch.bool)

    def forward(self, noise: Tensor, noise_log_prob: Tensor) -> None:
        """Compute actions and their log probabilities.

        Args:
            noise: standard normal (S, A, 2B).
            noise_log_prob: its log density (S, 2B).
        """
        log_std, spread, action, slope = self._log_std, self._spread, self.action, self._slope
        torch.clamp(self._raw, LOG_STD_MIN, LOG_STD_MAX, out=log_std)
        torch.exp(log_std, out=spread).mul_(noise)
        torch.add(self._mean, spread, out=action).tanh_()
        torch.mul(action, action, out=slope)
        torch.sub(self._one, slope, out=slope)
        torch.add(slope, self._epsilon, out=self._safe_slope)
        torch.log(self._safe_slope, out=self._log).add_(log_std)
        torch.sum(self._log, 1, out=self.log_prob)
        torch.sub(noise_log_prob, self.log_prob, out=self.log_prob)

    def backward(self, by_action: Tensor, weight: Tensor) -> None:
        """Write the errors of the first half of the rows.

        Args:
            by_action: derivative (S, A, B) of the rest of the loss, changed in place.
            weight: of the log probability of a row in the loss (S, 1, 1).
        """
        # action = tanh(mean + spread), log_prob = ... - sum(log_std + log(safe_slope))
        action, spread, slope, safe_slope, raw, log_std = self._first_half
        torch.mul(2 * weight, action, out=self._ratio).div_(safe_slope)
        torch.mul(slope, by_action.add_(self._ratio), out=self._by_mean)
        torch.mul(self._by_mean, spread, out=self._by_log_std).sub_(weight)
        torch.ne(raw, log_std, out=self._clamped)
        self._by_log_std.masked_fill_(self._clamped, 0)


@final
class ManualGradients:
    """Gradients of SAC's losses with a backward pass written by hand.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: entropy of the policy that the temperature is adapted to.
        batch_size: B.
        bfloat16: whether large products between hidden layers are computed in bfloat16.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        target_entropy: float,
        batch_size: int,
        bfloat16: bool = False,
    ):
        """Allocate gradients and activations."""
        nets = networks
        self._log_temperature = nets.log_temperature[:, None]  # (S, 1)
        self._actor_gradient = torch.empty_like(nets.actor)
        self._critic_gradient = torch.empty_like(nets.critic)
        seeds, size, num_obs = nets.num_seeds, batch_size, nets.actor_sizes[0]
        num_act = nets.actor_sizes[-1] // 2
        critic, critic_gradient, self._target = (
            layers(flat, 2 * seeds, nets.critic_sizes)
            for flat in (nets.critic, self._critic_gradient, nets.target)
        )
        actor, actor_gradient = (
            layers(flat, seeds, nets.actor_sizes) for flat in (nets.actor, self._actor_gradient)
        )
        self._actor = ManualMlp(
            actor, actor_gradient, num_rows=2 * size, num_back=size, bfloat16=bfloat16
        )
        self._critic = ManualMlp(
            critic, critic_gradient, num_rows=size, num_back=size, bfloat16=bfloat16
        )

        empty, number = nets.actor.new_empty, nets.actor.new_tensor
        self._rows, self._minus_rows = number(float(size)), number(-float(size))
        self._minus_target_entropy = number(-target_entropy)
        self._temperature = empty(seeds, 1)
        self._row_weight = empty(seeds, 1)  # of a row's log probability
        self._weight = self._row_weight[..., None]
        self._head = empty(seeds, 2 * num_act, 2 * size)
        self._squash = ManualSquash(self._head, self._actor.errors)
        self._policy_action = self._squash.action[:, None]  # (S, 1, A, 2B)
        self._log_prob, self._next_log_prob = self._squash.log_prob.split(size, 1)
        self._mean_log_prob = empty(seeds)
        # values (2 S, 1, B) of the critics, and seed by seed: (S, 2, B)
        self._q_out, self._policy_q_out, self._next_q_out = empty(3, 2 * seeds, 1, size).unbind()
        self._q, self._policy_q, next_q, self._q_error = (
            values.view(seeds, 2, size)
            for values in (self._q_out, self._policy_q_out, self._next_q_out, self._critic.errors)
        )
        self._next_pair, self._policy_pair = next_q.unbind(1), self._policy_q.unbind(1)
        self._smaller = self._q_error.unbind(1)
        self._bootstrap = empty(seeds, 1, size)
        self._target_value = self._bootstrap[:, 0]
        self._td = empty(seeds, 2, size)
        self._action_weight = critic[0][0][:, num_obs:]  # (2 S, A, hidden)
        self._first_errors = self._critic.first_errors.mT
        self._by_critic = empty(2 * seeds, num_act, size)
        self._by_critics = self._by_critic.view(seeds, 2, num_act, size)
        self._by_action = empty(seeds, num_act, size)
        self._products = products_of(*self._by_critic.shape, self._action_weight.shape[2])

    @torch.no_grad()
    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients of the critics' and the temperature's loss, flat."""
        self._batch, value = batch, self._target_value
        torch.exp(self._log_temperature, out=self._temperature)

        # the policy's actions at obs (for the actor's loss) and at next_obs (for the target)
        self._actor.forward(batch.both_obs, out=self._head)
        self._squash.forward(batch.noise, batch.noise_log_prob)
        batch.action.copy_(self._policy_action)

        # target = reward + discount * (min_k next_q - temperature * next_log_prob)
        self._critic.forward(batch.next_pair_of_critics, out=self._next_q_out, net=self._target)
        torch.minimum(*self._next_pair, out=value)
        value.sub_(self._temperature * self._next_log_prob).mul_(batch.discount).add_(batch.reward)

        # loss = 1/2 sum_k mean_b (q - target)^2
        self._critic.forward(batch.of_critics, out=self._q_out)
        torch.sub(self._q, self._bootstrap, out=self._td)
        torch.div(self._td, self._rows, out=self._q_error)
        self._critic.backward(batch.of_critics_transposed)

        # loss = -log_temperature * mean_b (log_prob + target_entropy)
        torch.mean(self._log_prob, 1, out=self._mean_log_prob)
        return self._critic_gradient, self._minus_target_entropy - self._mean_log_prob

    @torch.no_grad()
    def actor(self) -> Tensor:
        """Return the actor's gradient on the same batch, through the updated critics."""
        # loss = mean_b (temperature * log_prob - min_k q); only the smaller critic has a gradient
        self._critic.forward(self._batch.pair_of_critics, out=self._policy_q_out)
        torch.le(*self._policy_pair, out=self._smaller[0])
        torch.gt(*self._policy_pair, out=self._smaller[1])
        self._q_error.div_(self._minus_rows)
        self._critic.backward(None)
        with self._products:
            torch.bmm(self._action_weight, self._first_errors, out=self._by_critic)
        torch.sum(self._by_critics, 1, out=self._by_action)
        torch.div(self._temperature, self._rows, out=self._row_weight)
        self._squash.backward(self._by_action, self._weight)
        self._actor.backward(self._batch.obs_transposed)
        return self._actor_gradient

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
