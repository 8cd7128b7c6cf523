"""Adversarial dynamics reward: discriminators trained against models that try to fool them."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mbrl import moved
from mbrl.dynamics.transition_filter.base import PointwiseReward, transition_size
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import WhitenedMonomials
from mbrl.errors import NumericalFault
from mbrl.nn.generators import as_generator
from mbrl.nn.mlp import MLP
from mbrl.nn.normalizer import Normalizer
from mbrl.nn.products import FastProducts
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, Degree, NonNegative, Positive, Width, checked


@final
class AdversarialReward(PointwiseReward):
    """Mean logit of discriminators of real transitions, Luo et al. 2024 (MOREC).

    A generator, a Gaussian model of the change of obs, is trained from scratch to fool a
    discriminator, one step at a time. Snapshots of the discriminator are saved on the way, so that
    they have met every kind of error, large ones first. The rewards of independent runs are
    averaged. What makes them useful outside the data:

    - The generator learns more slowly than the discriminator. At equal rates it fits the data
      before the discriminator has learned anything, and every snapshot is nearly flat.
    - The squared gradient of the discriminator at real transitions is penalized (Mescheder et al.
      2018).
    - The logits log D - log(1 - D) are averaged (the reward of Fu et al. 2018, AIRL). The paper's
      reward is -log(1 - mean D); but outside the data every D is 0 or 1 to many digits, and their
      mean only counts votes. The reward is 0 where the discriminators are undecided.
    - The discriminator sees whitened monomials of (obs, action, change). Networks extrapolate
      linearly, and on the raw inputs a discriminator would be a linear regression far out. On the
      monomials the curvature of the data weighs as much as their slope, and is extrapolated too.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        num_runs: independent pairs of generator and discriminator.
        num_snapshots: discriminators saved of each run.
        hidden: width of the two hidden layers.
        num_updates: gradient steps of a fit.
        batch_size: rows of a gradient step.
        learning_rate: of the discriminators.
        generator_learning_rate: of the generators.
        gradient_penalty: weight of the discriminators' squared gradients.
        degree: of the monomials, lower where there would be more than max_features.
        max_features: largest number of monomials.
        floor: variance added to that of each principal direction of the monomials.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        generator: torch.Generator | int,
        num_runs: Count = 3,
        num_snapshots: Count = 20,
        hidden: Width = 64,
        num_updates: Count = 1500,
        batch_size: Count = 128,
        learning_rate: Positive = 1e-3,
        generator_learning_rate: Positive = 3e-4,
        gradient_penalty: NonNegative = 1.0,
        degree: Degree = 2,
        max_features: Count = 100,
        floor: NonNegative = 1e-4,
    ):
        """Draw the initial weights."""
        generator = as_generator(generator, action.low.device)
        super().__init__()
        inputs = obs_dim + action.dim
        self._num_runs, self._num_snapshots, self._obs_dim = num_runs, num_snapshots, obs_dim
        self._num_updates, self._batch_size = num_updates, batch_size
        self._learning_rate = learning_rate
        self._generator_learning_rate = generator_learning_rate
        self._gradient_penalty = gradient_penalty
        width = inputs + obs_dim
        self.features = WhitenedMonomials(
            width, degree=degree, max_features=max_features, floor=floor
        )
        sizes = [self.features.size, hidden, hidden, 1]
        self.model = MLP([inputs, hidden, hidden, 2 * obs_dim], num_runs, generator=generator)
        self.discriminator = MLP(sizes, num_runs, generator=generator)
        self.snapshots = MLP(sizes, num_runs * num_snapshots, generator=generator)
        self.snapshots.requires_grad_(False)
        self.scale = Normalizer(width)
        moved.state_keys(self, {"kept.": "snapshots."})

    @FastProducts()
    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Train generators and discriminators in turn; see DynamicsReward.fit.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x, of=transition_size(data))
        z = self.scale(x)
        self.features.fit(z)
        n = z.shape[1] - self._obs_dim
        generators, discriminators = (
            torch.optim.Adam(networks.parameters(), lr=rate, betas=(0.5, 0.99), fused=True)
            for networks, rate in (
                (self.model, self._generator_learning_rate),
                (self.discriminator, self._learning_rate),
            )
        )
        interval = max(1, self._num_updates // self._num_snapshots)
        slot, device = 0, generator.device
        loss = torch.zeros(())
        for update in range(1, self._num_updates + 1):
            rows = torch.randint(
                len(z), (self._num_runs, self._batch_size), generator=generator, device=device
            )
            real = self.features(z[rows]).requires_grad_(True)  # (R, n, F)
            given = z[rows][..., :n]
            mean, log_std = self.model(given).chunk(2, -1)
            noise = torch.randn(mean.shape, generator=generator, device=device)
            change = mean + log_std.clamp(-5, 1).exp() * noise
            fake = self.features(torch.cat([given, change], -1))

            logits = self.discriminator(real)
            (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            loss = (
                -logsigmoid(logits).mean() - logsigmoid(-self.discriminator(fake.detach())).mean()
            )
            penalty = self._gradient_penalty * slope.square().sum(-1).mean()
            _descend(discriminators, (loss + penalty) * self._num_runs)
            _descend(generators, -logsigmoid(self.discriminator(fake)).mean() * self._num_runs)
            if update % interval == 0 and slot < self._num_snapshots:
                self._save_snapshot(slot)
                slot += 1
        if not torch.isfinite(loss):
            raise NumericalFault(f"the discriminators' loss is {loss.item()}")
        return {"model/discriminator_loss": loss.item() / (2 * math.log(2))}

    @torch.no_grad()
    def _save_snapshot(self, slot: int) -> None:
        """Copy the present discriminators of all runs to a slot."""
        rows = slice(slot * self._num_runs, (slot + 1) * self._num_runs)
        parameters = self.snapshots.parameters(), self.discriminator.parameters()
        for snapshot, present in zip(*parameters, strict=True):
            snapshot[rows] = present

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return the mean logits (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, ...).

        They are 0 where the discriminators are undecided.
        """
        z = self.scale(torch.cat([obs, action, next_obs - obs], 1))
        return self.snapshots(self.features(z))[..., 0].mean(0)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Run one gradient step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
