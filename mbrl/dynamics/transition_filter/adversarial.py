"""The dynamics reward of MOREC: what discriminators learn while a model tries to fool them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mbrl.dynamics.transition_filter.base import LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import Whitened
from mbrl.errors import NumericalFault
from mbrl.nn.networks import Networks
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions


class Adversarial(LearnedDynamicsReward):
    """Reward transitions by what discriminators say of them, Luo et al. 2024 (MOREC).

    The generator is a Gaussian model of the change of obs. It begins untrained and learns to fool
    the discriminator, one step at a time; the discriminator's weights are kept along the way, so
    that the D_t have been against every kind of mistake, the coarse ones first. Independent runs
    are averaged. Four things decide whether the rewards are worth anything outside the data:

    - The generator learns slower than the discriminator. At equal rates it is as good as the data
      before the discriminator has learned anything, and every D_t is nearly flat.
    - A penalty on the discriminator's slope at real transitions (Mescheder et al. 2018).
    - The paper's reward is -log(1 - mean_t D_t), but out there D_t are 0 or 1 to many digits and
      their mean is a count of votes. What is averaged here are the logits, log D_t - log(1 - D_t)
      (the reward of Fu et al. 2018, AIRL): 0, not ln 2, where nobody can tell.
    - Far out a network goes on in straight lines, so a discriminator of (obs, action, change) says
      there what a linear regression would. Ours sees their monomials up to a degree, whitened: the
      curvature that the data show is then worth as much as their slope, and goes on too.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        num_runs: independent generators and discriminators.
        num_snapshots: discriminators kept of each.
        hidden: width of the two hidden layers.
        num_updates: gradient steps.
        batch_size: rows of a step.
        learning_rate: of the discriminators.
        generator_rate: of the generators.
        slope_penalty: weight of the squared slope.
        degree: of the monomials, lower where there would be more than max_features.
        max_features: see degree.
        floor: variance of a direction that counts as none.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        generator: torch.Generator,
        num_runs: int = 3,
        num_snapshots: int = 20,
        hidden: int = 64,
        num_updates: int = 1500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        generator_rate: float = 3e-4,
        slope_penalty: float = 1.0,
        degree: int = 2,
        max_features: int = 100,
        floor: float = 1e-4,
    ):
        """Draw the networks."""
        super().__init__()
        inputs = obs_dim + action.dim
        self._runs, self._snapshots, self._obs_dim = num_runs, num_snapshots, obs_dim
        self._num_updates, self._batch_size = num_updates, batch_size
        self._rates, self._slope_penalty = (generator_rate, learning_rate), slope_penalty
        width = inputs + obs_dim
        self.features = Whitened(width, degree=degree, max_features=max_features, floor=floor)
        sizes = [self.features.size, hidden, hidden, 1]
        self.model = Networks([inputs, hidden, hidden, 2 * obs_dim], num_runs, generator=generator)
        self.discriminator = Networks(sizes, num_runs, generator=generator)
        self.kept = Networks(sizes, num_runs * num_snapshots, generator=generator)
        self.kept.requires_grad_(False)
        self.scale = Normalizer(width, floor=1e-6)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Play the game; see DynamicsReward.fit."""
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x)
        z = self.scale(x)
        self.features.fit(z)
        n = z.shape[1] - self._obs_dim
        ours, theirs = (
            torch.optim.Adam(each.parameters(), lr=rate, betas=(0.5, 0.99), fused=True)
            for each, rate in zip((self.model, self.discriminator), self._rates, strict=True)
        )
        every = max(1, self._num_updates // self._snapshots)
        slot, device = 0, generator.device
        loss = torch.zeros(())
        for update in range(1, self._num_updates + 1):
            rows = torch.randint(
                len(z), (self._runs, self._batch_size), generator=generator, device=device
            )
            real = self.features(z[rows]).requires_grad_(True)  # (R, n, F)
            given = z[rows][..., :n]
            mean, log_std = self.model(given).chunk(2, -1)
            noise = torch.randn(mean.shape, generator=generator, device=device)
            change = mean + log_std.clamp(-5, 1).exp() * noise
            fake = self.features(torch.cat([given, change], -1))

            told = self.discriminator(real)
            (slope,) = torch.autograd.grad(told.sum(), real, create_graph=True)
            loss = -logsigmoid(told).mean() - logsigmoid(-self.discriminator(fake.detach())).mean()
            smooth = self._slope_penalty * slope.square().sum(-1).mean()
            self._step(theirs, (loss + smooth) * self._runs)
            self._step(ours, -logsigmoid(self.discriminator(fake)).mean() * self._runs)
            if update % every == 0 and slot < self._snapshots:
                self._keep(slot)
                slot += 1
        if not torch.isfinite(loss):
            raise NumericalFault(f"the discriminators' loss is {loss.item()}")
        return {"model/discriminator_loss": loss.item() / (2 * math.log(2))}

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Take a gradient step."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def _keep(self, slot: int) -> None:
        """Copy the discriminators as they are."""
        place = slice(slot * self._runs, (slot + 1) * self._runs)
        for kept, now in zip(self.kept.parameters(), self.discriminator.parameters(), strict=True):
            kept[place] = now

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the dynamics reward (N,); 0 where nobody can tell."""
        z = self.scale(torch.cat([obs, action, next_obs - obs], 1))
        return self.kept(self.features(z))[..., 0].mean(0)
