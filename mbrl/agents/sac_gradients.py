"""The networks of SAC on flat parameters, and the gradients of its losses: autograd or by hand.

N networks of one shape are stacked, so that both critics are one batched matrix product; a group's
parameters lie in one flat tensor, so that Adam and the target's average are one kernel each.
A hidden layer is a weight (N, in, out) and a bias (N, 1, out). The last layer is transposed, with
(N, out, in) and (N, out, 1), and so is its output (N, out, B): a product with few rows is up to 4x
faster than one with few columns. B transitions, D = obs_dim, A = act_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
EPSILON = 1e-6  # keeps log(1 - action^2) finite
Layers = list[tuple[Tensor, Tensor]]
threshold_backward = torch.ops.aten.threshold_backward.grad_input


def initial(num: int, sizes: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Draw flat parameters of num networks from nn.Linear's default distribution."""
    parts = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        for count in (num * fan_in * fan_out, num * fan_out):
            uniform = torch.rand(count, generator=generator, device=generator.device)
            parts.append((2 * uniform - 1) / math.sqrt(fan_in))
    return torch.cat(parts)


def layers(flat: Tensor, num: int, sizes: Sequence[int]) -> Layers:
    """See flat parameters as weights and biases, the last layer's transposed."""
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    parts = flat.split([n for i, o in pairs for n in (num * i * o, num * o)])
    *hidden, (weight, bias) = [
        (weight.view(num, i, o), bias.view(num, 1, o))
        for weight, bias, (i, o) in zip(parts[::2], parts[1::2], pairs, strict=True)
    ]
    return [*hidden, (weight.view(num, sizes[-1], -1), bias.mT)]


def forward(x: Tensor, net: Layers) -> Tensor:
    """Evaluate ReLU networks (N, B, in) -> (N, out, B)."""
    for weight, bias in net[:-1]:
        x = torch.baddbmm(bias, x, weight).relu_()
    weight, bias = net[-1]
    return torch.baddbmm(bias, weight, x.mT)


class Sample(NamedTuple):
    """Actions of a tanh-Gaussian policy and what their gradient needs."""

    action: Tensor  # (A, B) in [-1, 1]
    log_prob: Tensor  # (B,)
    std: Tensor  # (A, B)
    slope: Tensor  # (A, B) of tanh: 1 - action^2
    clamped: Tensor  # (A, B) bool: log_std was out of bounds


def gaussian_log_prob(noise: Tensor) -> Tensor:
    """Give the log-density (..., B) of standard normal noise (..., A, B)."""
    return noise.square().sum(-2).add_(noise.shape[-2] * math.log(2 * math.pi)).mul_(-0.5)


def squash(head: Tensor, noise: Tensor, noise_log_prob: Tensor) -> Sample:
    """Turn the actor's output (2A, B) and noise (A, B) into actions."""
    mean, raw = head.chunk(2)
    log_std = raw.clamp(LOG_STD_MIN, LOG_STD_MAX)
    std = log_std.exp()
    action = torch.addcmul(mean, std, noise).tanh()
    slope = 1 - action.square()
    log_prob = noise_log_prob - (slope + EPSILON).log_().add_(log_std).sum(0)
    return Sample(action, log_prob, std, slope, raw != log_std)


class Networks(NamedTuple):
    """All parameters, each group flat."""

    actor_sizes: tuple[int, ...]  # D, hidden ..., 2A
    critic_sizes: tuple[int, ...]  # D + A, hidden ..., 1
    actor: Tensor
    critic: Tensor  # both critics
    target: Tensor  # their moving average
    log_temperature: Tensor  # (1,)


class Batch(NamedTuple):
    """What one update sees; actions are in [-1, 1]."""

    taken: Tensor  # (B, D + A) [obs | action]
    next_obs: Tensor  # (B, D)
    reward: Tensor  # (B,)
    discount: Tensor  # (B,) 0 where the episode terminated
    noise: Tensor  # (A, 2B) for obs, then for next_obs
    noise_log_prob: Tensor  # (2B,)


class Gradients(Protocol):
    """The gradients of one update, in the order of Stable-Baselines3; one batch size."""

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the gradients of the critics' and the temperature's loss, flat."""
        ...

    def actor(self) -> Tensor:
        """Give the actor's gradient on the same batch, through the critics as they are now."""
        ...

    def metrics(self) -> dict[str, Tensor]:
        """Give the losses of the last update."""
        ...


class AutogradGradients:
    """The losses, written as in the paper.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: what the temperature drives the policy's entropy to.
    """

    def __init__(self, networks: Networks, *, target_entropy: float):
        """Keep the parameters."""
        self._nets = networks
        self._target_entropy = target_entropy

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the gradients of the critics' and the temperature's loss, flat."""
        nets, size = self._nets, batch.reward.shape[0]
        num_obs = nets.actor_sizes[0]
        obs, next_obs = batch.taken[:, :num_obs], batch.next_obs
        noise, next_noise = batch.noise.split(size, dim=1)
        base, next_base = batch.noise_log_prob.split(size)
        log_temperature = nets.log_temperature.detach().requires_grad_()
        temperature = log_temperature.detach().exp()

        self._actor = nets.actor.detach().requires_grad_()
        actor = layers(self._actor, 1, nets.actor_sizes)
        self._sample = squash(forward(obs[None], actor)[0], noise, base)
        entropy_gap = self._sample.log_prob.detach() + self._target_entropy
        temperature_loss = -(log_temperature * entropy_gap).mean()

        with torch.no_grad():
            following = squash(forward(next_obs[None], actor)[0], next_noise, next_base)
            pair = torch.cat([next_obs, following.action.T], 1).expand(2, -1, -1)
            next_q = forward(pair, layers(nets.target, 2, nets.critic_sizes)).amin(0)[0]
            goal = batch.reward + batch.discount * (next_q - temperature * following.log_prob)

        critic = nets.critic.detach().requires_grad_()
        q = forward(batch.taken.expand(2, -1, -1), layers(critic, 2, nets.critic_sizes))
        critic_loss = 0.5 * (q[:, 0] - goal).square().mean(1).sum()
        self._obs, self._temperature = obs, temperature
        self._metrics = {
            "train/critic_loss": critic_loss.detach(),
            "train/temperature": temperature[0],
            "train/entropy": -self._sample.log_prob.detach().mean(),
            "train/mean_q": q.detach().mean(),
        }
        (critic_gradient,) = torch.autograd.grad(critic_loss, critic)
        (temperature_gradient,) = torch.autograd.grad(temperature_loss, log_temperature)
        return critic_gradient, temperature_gradient

    def actor(self) -> Tensor:
        """Give the actor's gradient on the same batch, through the critics as they are now."""
        pair = torch.cat([self._obs, self._sample.action.T], 1).expand(2, -1, -1)
        critic = layers(self._nets.critic, 2, self._nets.critic_sizes)
        q = forward(pair, critic)[:, 0].min(0).values
        loss = (self._temperature * self._sample.log_prob - q).mean()
        self._metrics["train/actor_loss"] = loss.detach()
        return torch.autograd.grad(loss, self._actor)[0]

    def metrics(self) -> dict[str, Tensor]:
        """Give the losses of the last update."""
        return self._metrics


class ManualMlp:
    """ReLU networks whose forward pass is kept and whose backward pass is written out.

    Args:
        net: N networks of one shape.
        gradients: where backward() writes, of the same shapes.
        batch_size: rows of forward().
    """

    def __init__(self, net: Layers, gradients: Layers, *, batch_size: int):
        """Allocate what the passes write to."""
        self._net, self._gradients = net, gradients
        new = net[0][0].new_empty
        self._kept = [new(w.shape[0], batch_size, w.shape[2]) for w, _ in net[:-1]]
        self._errors = [torch.empty_like(x) for x in self._kept]

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate (N, B, in) -> (N, out, B)."""
        self._input = x
        for (weight, bias), kept in zip(self._net[:-1], self._kept, strict=True):
            x = torch.baddbmm(bias, x, weight, out=kept).relu_()
        weight, bias = self._net[-1]
        return torch.baddbmm(bias, weight, x.mT)

    def backward(self, error: Tensor, *, weights: bool = True) -> Tensor:
        """Carry d loss / d output (N, out, b) back; b < B leaves out the last rows.

        Args:
            error: the loss's derivative by the output.
            weights: also write the gradients of weights and biases.

        Returns:
            The derivative (N, b, hidden) by the first layer's sums, before its ReLU.
        """
        num_rows = error.shape[2]
        inputs = [x[:, :num_rows] for x in (self._input, *self._kept)]  # (N, b, in) of each layer
        errors = [x[:, :num_rows] for x in self._errors]  # (N, b, out) of each but the last
        if weights:
            weight, bias = self._gradients[-1]
            torch.bmm(error, inputs[-1], out=weight)
            torch.sum(error, 2, keepdim=True, out=bias)
        torch.bmm(error.mT, self._net[-1][0], out=errors[-1])
        for k in reversed(range(len(errors))):
            # nothing passes where the ReLU was closed
            error = threshold_backward(errors[k], inputs[k + 1], 0, grad_input=errors[k])
            if weights:
                weight, bias = self._gradients[k]
                torch.bmm(inputs[k].mT, error, out=weight)
                torch.sum(error, 1, keepdim=True, out=bias)
            if k:
                torch.bmm(error, self._net[k][0].mT, out=errors[k - 1])
        return errors[0]


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
        self._num_obs, self._size = nets.actor_sizes[0], batch_size
        self._actor_gradient = torch.empty_like(nets.actor)
        self._critic_gradient = torch.empty_like(nets.critic)
        critic, critic_gradient, target = (
            layers(flat, 2, nets.critic_sizes)
            for flat in (nets.critic, self._critic_gradient, nets.target)
        )
        actor, actor_gradient = (
            layers(flat, 1, nets.actor_sizes) for flat in (nets.actor, self._actor_gradient)
        )
        self._actor = ManualMlp(actor, actor_gradient, batch_size=2 * batch_size)
        self._critic = ManualMlp(critic, critic_gradient, batch_size=batch_size)
        self._target = ManualMlp(target, target, batch_size=batch_size)
        # obs above next_obs, the policy's actions on the right
        self._policy = nets.actor.new_empty(2 * batch_size, nets.critic_sizes[0])
        self._action_weight = critic[0][0][:, self._num_obs :]  # (2, A, hidden)

    @torch.no_grad()
    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the gradients of the critics' and the temperature's loss, flat."""
        size, num_obs = self._size, self._num_obs
        self._noise = batch.noise[:, :size]
        self._temperature = self._log_temperature.exp()

        # the policy's actions at obs (for the actor's loss) and at next_obs (for the target)
        policy = self._policy
        policy[:size, :num_obs] = batch.taken[:, :num_obs]
        policy[size:, :num_obs] = batch.next_obs
        head = self._actor.forward(policy[None, :, :num_obs])[0]  # (2A, 2B)
        self._sample = squash(head, batch.noise, batch.noise_log_prob)
        policy[:, num_obs:] = self._sample.action.T
        log_prob, next_log_prob = self._sample.log_prob.split(size)

        next_q = self._target.forward(policy[size:].expand(2, -1, -1)).amin(0)[0]
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
        weight = self._temperature / size
        action, _, std, slope, clamped = (x[..., :size] for x in self._sample)

        # loss = mean_b (temperature * log_prob - min_k q); the lesser critic alone passes it on
        q = self._critic.forward(self._policy[:size].expand(2, -1, -1))  # (2, 1, B)
        first = (q[0] <= q[1]).to(q.dtype) / -size
        error = self._critic.backward(torch.stack([first, -1 / size - first]), weights=False)
        by_action = torch.bmm(self._action_weight, error.mT).sum(0)  # (A, B)
        self._policy_q = q

        # action = tanh(mean + std noise), log_prob = ... - sum(log_std + log(slope + EPSILON))
        by_mean = slope * (by_action + 2 * weight * action / (slope + EPSILON))
        by_log_std = (by_mean * std * self._noise - weight).masked_fill_(clamped, 0)
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


class Adam:
    """Adam (Kingma and Ba 2015) on flat tensors, with all its state in the open.

    Args:
        parameters: changed in place.
        learning_rate: the step size.
    """

    def __init__(self, *parameters: Tensor, learning_rate: float):
        """Start with zero moments."""
        self._parameters = list(parameters)
        self._learning_rate = learning_rate
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.square = [torch.zeros_like(p) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, *gradients: Tensor) -> None:
        """Take one step."""
        adam(
            self._parameters,
            list(gradients),
            self.mean,
            self.square,
            [],
            self.steps,
            foreach=False,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, list[Tensor]]:
        """Give moments and step counts, not copied."""
        return {"mean": self.mean, "square": self.square, "steps": self.steps}
