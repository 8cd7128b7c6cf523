"""Planning by gradient ascent on the actions, through the model."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.planners.sampling import Discount, Iteration, Risk, SamplingPlanner, Update, winner
from mbrl.types import ActionSpec
from mbrl.values import Count, Positive, checked


class Ascent:
    """Gradient ascent of one plan, in units where actions span [-1, 1].

    Args:
        learning_rate: of the first step; it falls to three tenths.

    Attributes:
        candidates: sequences (E, S, H, A), the leaf of the gradient.
        value: best returns so far (E,).
    """

    def __init__(self, learning_rate: float):
        """Store the learning rate; begin() comes next."""
        self.learning_rate = learning_rate

    def begin(self, starts: Tensor, total: int) -> None:
        """Set out from starts (E, S, H, A) for a number of steps."""
        self._allowed = starts.clone()  # the last sequences that were not ruled out
        self.candidates = starts.requires_grad_()
        # so small that it only keeps 0 / 0 away: rewards may be in any unit
        eps = torch.finfo(starts.dtype).tiny
        # few steps: with a longer memory the first gradients, which are huge in an unstable model,
        # keep all later steps small
        betas = (0.9, 0.9)
        self._adam = torch.optim.Adam([self.candidates], self.learning_rate, betas, eps)
        self._decay = 0.3 ** (1 / total)
        self.value = torch.full((starts.shape[0],), -torch.inf, device=starts.device)

    def step(self, returns: Tensor) -> None:
        """Step up the returns (E, S); a sequence that is ruled out goes back."""
        # Adam does not depend on the gradient's scale: each start climbs at its own
        downhill = -torch.ones_like(returns)  # Adam minimizes
        (gradient,) = torch.autograd.grad(returns, self.candidates, downhill)
        is_ruled_out = torch.isneginf(returns)[:, :, None, None]
        self._allowed = torch.where(is_ruled_out, self._allowed, self.candidates.detach())
        self.candidates.data.copy_(self._allowed)
        self.candidates.grad = torch.where(is_ruled_out, 0, gradient)
        self._adam.step()
        self._adam.param_groups[0]["lr"] *= self._decay
        self.candidates.clamp_(-1, 1)


class AscentProposal(NamedTuple):
    """The best sequence so far, in units of [-1, 1], and the ascent that found it."""

    sequence: Tensor  # (E, H, A)
    ascent: Ascent

    def shift(self, *, generator: torch.Generator) -> AscentProposal:
        """Return the sequence one decision later, its last action held."""
        later = torch.cat([self.sequence[:, 1:], self.sequence[:, -1:]], 1)
        return AscentProposal(later, Ascent(self.ascent.learning_rate))


@final
class Gradient(SamplingPlanner[AscentProposal]):
    """Gradient ascent on the return with Adam, from several starts; the best sequence is kept.

    As in Heess et al. 2015 and Bharadhwaj et al. 2020. The model must be differentiable.

    Args:
        action: the environment's actions, continuous.
        horizon: decisions H.
        num_starts: sequences improved side by side.
        num_iterations: steps of Adam of a plan that starts without a plan before.
        warm_iterations: steps of Adam of a plan that starts from the plan before.
        learning_rate: in units where actions span [-1, 1]; it falls to three tenths during a plan.
        std: standard deviation of the random starts, in the same units.
        num_particles: model rows per candidate, over which returns are averaged.
        risk: share of the worst particles, over which returns are averaged instead of all (the
            conditional value at risk); None for all.
        action_hold: environment steps for which each action is held.
        discount: per environment step.

    Raises:
        BadInput: if the actions are discrete.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: Count = 20,
        num_starts: Count = 4,
        num_iterations: Count = 100,
        warm_iterations: Count = 30,
        learning_rate: Positive = 0.1,
        std: Positive = 0.3,
        num_particles: Count = 1,
        risk: Risk | None = None,
        action_hold: Count = 1,
        discount: Discount = 1.0,
    ):
        """Store the settings."""
        if action.kind == "discrete":
            raise BadInput("Gradient takes continuous actions; choose CEM, ICEM or MPPI")
        super().__init__(
            action=action,
            horizon=horizon,
            num_iterations=num_iterations,
            warm_iterations=warm_iterations,
            num_particles=num_particles,
            risk=risk,
            action_hold=action_hold,
            discount=discount,
            by_gradient=True,
        )
        self._num_starts = num_starts
        self._learning_rate = learning_rate
        self._std = std

    def start(self, num_envs: int) -> AscentProposal:
        """Return sequences in the middle of the bounds, for E environments."""
        low = self.action.low
        middle = torch.zeros(num_envs, self.horizon, self.action.dim, device=low.device)
        return AscentProposal(middle, Ascent(self._learning_rate))

    def propose(
        self, proposal: AscentProposal, iteration: Iteration, *, generator: torch.Generator
    ) -> Tensor:
        """Return candidates (E, S, H, A), at first the proposal and random starts."""
        sequence, ascent = proposal
        if iteration.index == 0:
            num_envs, horizon, dim = sequence.shape
            shape = (num_envs, self._num_starts, horizon, dim)
            noise = torch.randn(shape, generator=generator, device=generator.device)
            starts = (self._std * noise).clamp(-1, 1)
            starts[:, 0] = sequence
            ascent.begin(starts, iteration.total)
        return self._scale(ascent.candidates)

    def update(
        self, proposal: AscentProposal, iteration: Iteration, candidates: Tensor, returns: Tensor
    ) -> Update[AscentProposal]:
        """Step candidates (E, S, H, A) up their returns (E, S), and keep the best so far."""
        sequence, ascent = proposal
        leader, value = winner(ascent.candidates.detach(), returns.detach())
        is_better = value > ascent.value
        sequence = torch.where(is_better[:, None, None], leader, sequence)
        ascent.value = torch.where(is_better, value, ascent.value)
        if iteration.index < iteration.total:
            ascent.step(returns)
        return Update(AscentProposal(sequence, ascent), self._scale(sequence), ascent.value)

    def _scale(self, sequences: Tensor) -> Tensor:
        """Convert sequences (..., H, A) from units of [-1, 1] to the environment's."""
        low, high = self.action.low, self.action.high
        return self.action.clip((high + low) / 2 + (high - low) / 2 * sequences)
