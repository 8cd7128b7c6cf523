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
    """Reward transitions by -log(1 - mean_t D_t), Luo et al. 2024 (MOREC).

    The generator is a Gaussian model of the change of obs, fitted by likelihood first and then to
    fool the discriminator, one step at a time; the discriminator's weights are kept along the way,
    so that D_t has been against every kind of mistake that the model went through. Independent runs
    are averaged: single ones fail now and then.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        num_runs: independent generators and discriminators.
        num_snapshots: discriminators kept of each.
        hidden: width of the two hidden layers.
        warm_up: updates of the generators by likelihood alone.
        num_updates: adversarial ones.
        batch_size: rows of a step.
        learning_rate: of both.
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
        warm_up: int = 1000,
        num_updates: int = 3000,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        decay: float = 0.0,
        smooth: float = 0.0,
        gp: float = 0.0,
    ):
        """Draw the networks."""
        super().__init__()
        self._decay, self._smooth, self._gp = decay, smooth, gp
        inputs = obs_dim + action.dim
        self._runs, self._snapshots, self._obs_dim = num_runs, num_snapshots, obs_dim
        self._updates, self._batch_size, self._rate = (
            (warm_up, num_updates), batch_size, learning_rate,
        )  # fmt: skip
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
        warm_up, num_updates = self._updates
        options = {"betas": (0.5, 0.99), "fused": True}
        ours = torch.optim.Adam(self.model.parameters(), lr=self._rate, **options)
        theirs = torch.optim.AdamW(
            self.discriminator.parameters(), lr=self._rate, weight_decay=self._decay, **options
        )
        every = max(1, num_updates // self._snapshots)
        slot = 0
        device = generator.device
        loss = torch.zeros(())
        for update in range(warm_up + num_updates):
            rows = torch.randint(
                len(z), (self._runs, self._batch_size), generator=generator, device=device
            )
            real = z[rows]  # (R, n, ...)
            given, change = real[..., :n], real[..., n:]
            mean, log_std = self.model(given).chunk(2, -1)
            log_std = log_std.clamp(-5, 1)
            if update < warm_up:
                loss = (0.5 * ((change - mean) / log_std.exp()).square() + log_std).mean()
                self._step(ours, loss * self._runs)
                continue
            noise = torch.randn(mean.shape, generator=generator, device=device)
            fake = torch.cat([given, mean + log_std.exp() * noise], -1)
            loss = -logsigmoid(self.discriminator(real)).mean()
            loss = loss - logsigmoid(-self.discriminator(fake.detach())).mean()
            extra = 0.0
            if self._gp:
                x = real.detach().requires_grad_(True)
                (grad,) = torch.autograd.grad(self.discriminator(x).sum(), x, create_graph=True)
                extra = self._gp * grad.square().sum(-1).mean()
            self._step(theirs, (loss + extra) * self._runs)
            self._step(ours, -logsigmoid(self.discriminator(fake)).mean() * self._runs)
            if (update - warm_up + 1) % every == 0 and slot < self._snapshots:
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
        """Give the dynamics reward (N,); ln 2 where nobody can tell."""
        z = self.scale(torch.cat([obs, action, next_obs - obs], 1))
        doubt = logsigmoid(-self.kept(z)[..., 0])  # log(1 - D_t)
        return math.log(len(doubt)) - torch.logsumexp(doubt, 0)
