"""SAC's networks on flat parameters, and the batch of an update.

N networks of one shape are stacked, so that both critics, and those of S seeds that learn side by
side, are one batched matrix product. All their parameters are one flat tensor, so that Adam and the
target's average are one kernel each.
A hidden layer is a weight (N, in, out) and a bias (N, 1, out). The last layer is transposed, with
(N, out, in) and (N, out, 1), and so is its output (N, out, B): a product with few rows is up to 4x
faster than one with few columns. B transitions, D = obs_dim, A = act_dim, S seeds (1 of a learner
alone); N is S for actors and 2 S for critics, both of a seed side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from mbrl.nn.flat import Layers
from mbrl.nn.mlp import draw_layers
from mbrl.nn.products import bfloat16_pays, products_of

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
EPSILON = 1e-6  # keeps log(1 - action^2) finite


def initial(num: int, sizes: Sequence[int], *, generator: torch.Generator) -> Tensor:
    """Sample flat parameters (num_parameters,) of num networks as nn.Linear does by default."""
    layers = draw_layers(sizes, num, generator=generator, initialization="linear")
    return torch.cat([x.flatten() for layer in zip(*layers, strict=True) for x in layer])


def forward(x: Tensor, net: Layers, *, bfloat16: bool = False) -> Tensor:
    """Return the outputs (N, out, B) of ReLU networks for x (N, B, in).

    Args:
        x: inputs (N, B, in).
        net: their layers.
        bfloat16: whether large products between hidden layers are computed in bfloat16.
    """
    rows, (*hidden, (head, head_bias)) = x.shape[1], net
    with products_of(rows, max(weight.numel() for weight, _ in net)):
        for k, (weight, bias) in enumerate(hidden):
            if bfloat16 and k and bfloat16_pays(rows, *weight.shape[1:]):
                x = torch.bmm(x.bfloat16(), weight.bfloat16()).float().add_(bias).relu_()
            else:
                x = torch.baddbmm(bias, x, weight).relu_()
        return torch.baddbmm(head_bias, head, x.mT)


class Sample(NamedTuple):
    """Actions of a tanh-Gaussian policy."""

    action: Tensor  # (..., A, B) in [-1, 1]
    log_prob: Tensor  # (..., B)


def gaussian_log_prob(noise: Tensor) -> Tensor:
    """Return the log density (..., B) of standard normal noise (..., A, B)."""
    return noise.square().sum(-2).add_(noise.shape[-2] * math.log(2 * math.pi)).mul_(-0.5)


def squash(head: Tensor, noise: Tensor, noise_log_prob: Tensor) -> Sample:
    """Return the actions for an actor's output.

    Args:
        head: means above log standard deviations (..., 2A, B).
        noise: standard normal (..., A, B).
        noise_log_prob: its log density (..., B); see gaussian_log_prob.
    """
    mean, raw = head.chunk(2, -2)
    log_std = raw.clamp(LOG_STD_MIN, LOG_STD_MAX)
    action = (mean + log_std.exp() * noise).tanh()
    slope = 1 - action * action + EPSILON
    return Sample(action, noise_log_prob - slope.log().add_(log_std).sum(-2))


class Networks(NamedTuple):
    """All parameters of SAC, those of S seeds together, each group flat."""

    actor_sizes: tuple[int, ...]  # D, hidden ..., 2A
    critic_sizes: tuple[int, ...]  # D + A, hidden ..., 1
    actor: Tensor
    critic: Tensor  # both critics of each seed
    target: Tensor  # their moving average
    log_temperature: Tensor  # (S,)

    @property
    def num_seeds(self) -> int:
        """Return S."""
        return self.log_temperature.shape[0]


@final
class Batch:
    """Batch of one update of S seeds; actions are in [-1, 1].

    Both critics of a seed read the same rows. They are stored C times: once for one seed, twice for
    several, so that the rows of all critics are a view.

    Args:
        taken: (S, C, B, D + A) [obs | action].
        pairs: (S, C, 2B, D + A) obs above next_obs, beside them place for the policy's actions.
        reward: (S, B).
        discount: (S, B), 0 where the episode terminated.
        noise: (S, A, 2B) for obs, then for next_obs.
        noise_log_prob: (S, 2B).

    Attributes:
        both_obs: (S, 2B, D) obs above next_obs.
        obs, next_obs: (S, B, D).
        action: (S, C, A, 2B) where the policy's actions are written.
        of_critics: taken (2 S, B, D + A), of each critic.
        pair_of_critics, next_pair_of_critics: obs and next_obs with the policy's actions, alike.
        obs_transposed: (S, D, B).
        of_critics_transposed: (2 S, D + A, B).
    """

    def __init__(
        self,
        taken: Tensor,
        pairs: Tensor,
        reward: Tensor,
        discount: Tensor,
        noise: Tensor,
        noise_log_prob: Tensor,
    ):
        """Create the views once: for small networks they cost as much as the arithmetic."""
        self.reward, self.discount = reward, discount
        self.noise, self.noise_log_prob = noise, noise_log_prob
        size, num_act = reward.shape[1], noise.shape[1]
        both_obs, action = pairs.split([pairs.shape[3] - num_act, num_act], 3)
        self.both_obs, self.action = both_obs[:, 0], action.mT
        self.obs, self.next_obs = self.both_obs.split(size, 1)
        self.of_critics, both = (x.expand(-1, 2, -1, -1).flatten(0, 1) for x in (taken, pairs))
        self.pair_of_critics, self.next_pair_of_critics = both.split(size, 1)
        self.obs_transposed, self.of_critics_transposed = self.obs.mT, self.of_critics.mT


class Gradients(Protocol):
    """Gradients of one update, in the order of Stable-Baselines3."""

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients of the critics' and the temperature's loss, flat."""
        ...

    def actor(self) -> Tensor:
        """Return the actor's gradient on the same batch, through the updated critics."""
        ...

    def metrics(self) -> dict[str, Tensor]:
        """Return the losses (S,) of the last update."""
        ...
