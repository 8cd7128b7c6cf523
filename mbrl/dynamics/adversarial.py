"""The dynamics reward of MOREC: what discriminators learn while a model tries to fool them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.edges import EdgeMembers
from mbrl.dynamics.judge import LearnedJudge
from mbrl.dynamics.networks import Networks
from mbrl.dynamics.normalizer import Normalizer
from mbrl.errors import NumericalFault
from mbrl.types import ActionSpec, Transitions


class Adversarial(LearnedJudge):
    """Reward transitions by what discriminators say of them, Luo et al. 2024 (MOREC).

    The generator is a Gaussian model of the change of obs. It begins untrained and learns to fool
    the discriminator, one step at a time; the discriminator's weights are kept along the way, so
    that the D_t have been against every kind of mistake, the coarse ones first. For this it must
    learn slower than the discriminator: at equal rates it is as good as the data before the
    discriminator has learned anything, and what is kept are 20 shades of a coin's flip. A penalty
    on the discriminator's slope at real transitions (Mescheder et al. 2018) is what lets it speak
    outside the data: without it the rewards there are noise. Independent runs are averaged: single
    ones fail now and then.

    The paper's reward is -log(1 - mean_t D_t). Outside the data, where it is needed, most D_t are 0
    or 1 to many digits, and their mean is a count of votes. Here what is averaged are the logits,
    log D_t - log(1 - D_t) (the reward of Fu et al. 2018, AIRL): of the same order where all agree,
    and never saturated; 0, not ln 2, where nobody can tell.

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
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        generator: torch.Generator,
        num_runs: int = 6,
        num_snapshots: int = 20,
        hidden: int = 64,
        num_updates: int = 1500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        generator_rate: float = 1e-4,
        slope_penalty: float = 1.0,
    ):
        """Draw the networks."""
        super().__init__()
        inputs = obs_dim + action.dim
        self._runs, self._snapshots, self._obs_dim = num_runs, num_snapshots, obs_dim
        self._num_updates, self._batch_size = num_updates, batch_size
        self._rates, self._slope_penalty = (generator_rate, learning_rate), slope_penalty
        sizes = [inputs + obs_dim, hidden, hidden, 1]
        self.model = Networks([inputs, hidden, hidden, 2 * obs_dim], num_runs, generator=generator)
        self.discriminator = Networks(sizes, num_runs, generator=generator)
        self.kept = Networks(sizes, num_runs * num_snapshots, generator=generator)
        self.kept.requires_grad_(False)
        self.scale = Normalizer(inputs + obs_dim, floor=1e-6)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: EdgeMembers | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Play the game; see Judge.fit."""
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x)
        z = self.scale(x)
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
            real = z[rows].requires_grad_(True)  # (R, n, ...)
            given = z[rows][..., :n]
            mean, log_std = self.model(given).chunk(2, -1)
            noise = torch.randn(mean.shape, generator=generator, device=device)
            fake = torch.cat([given, mean + log_std.clamp(-5, 1).exp() * noise], -1)

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
        return self.kept(z)[..., 0].mean(0)
