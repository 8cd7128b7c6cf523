"""Gradient steps of a sparse ReLU network on rollouts along the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

import torch
from annotated_types import Gt, Le
from torch import Tensor

from mbrl.dynamics.sparse_relu.interaction_network import InteractionNetworks
from mbrl.errors import NumericalFault
from mbrl.types import Transitions, sequences
from mbrl.values import Count, NonNegative, Positive, checked


@final
@checked
@dataclass(frozen=True)
class RolloutTraining:
    """Training on the errors of rollouts, Liu et al. 2023.

    Args:
        rollout_length: steps of a rollout.
        batch_size: rollouts in a gradient step.
        learning_rate: of Adam, falling to a tenth over a call of run.
        gate_learning_rate: the same for the gates.
        gate_weight: loss for each expected ReLU beyond the budget.
        stability_weight: loss for ReLUs that change sign near the data (Xiao et al. 2019); fewer
            then need a binary variable in a mixed-integer program.
        stability_radius: how near, in standard deviations of the inputs.
        holdout: share of the episodes held out.
    """

    rollout_length: Count = 4
    batch_size: Count = 256
    learning_rate: Positive = 1e-2
    gate_learning_rate: NonNegative = 0.1
    gate_weight: NonNegative = 1e-2
    stability_weight: NonNegative = 0.0
    stability_radius: Positive = 0.1
    holdout: Annotated[float, Gt(0), Le(0.5)] = 0.1

    def windows(self, data: Transitions) -> tuple[Tensor, Tensor]:
        """Return the rows of all rollouts along transitions (B, ...).

        Rollouts are shorter where no episode is as long. With too few episodes for a holdout, both
        results hold all rollouts.

        Returns:
            Training and held-out rows (W, L), int64.
        """
        length = self.rollout_length
        windows = sequences(data, length)
        while not len(windows):
            length -= 1
            windows = sequences(data, length)
        every = max(2, round(1 / self.holdout))
        held = data.episode[windows[:, 0]] % every == every - 1
        if not held.any() or held.all():
            return windows, windows
        return windows[~held], windows[held]

    def run(
        self,
        networks: InteractionNetworks,
        data: Transitions,
        windows: Tensor,
        num_updates: int,
        *,
        unit: Tensor,
        generator: torch.Generator,
        budget: int | None = None,
    ) -> None:
        """Run gradient steps.

        Args:
            networks: with M members.
            data: transitions (B, ...).
            windows: rows of the rollouts, (M, W, L).
            num_updates: gradient steps.
            unit: (targets,) of the errors; infinity leaves a target out.
            generator: source of the batches.
            budget: ReLUs of each network beyond which open gates cost something; None charges none.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        named = list(networks.named_parameters())
        gates = [p for name, p in named if name.endswith("logits")]
        others = [p for name, p in named if not name.endswith("logits")]
        groups = [{"params": others}, {"params": gates, "lr": self.gate_learning_rate}]
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, fused=True)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / max(1, num_updates)))
        num_members, num_windows, _ = windows.shape
        batch = num_members, min(self.batch_size, num_windows)
        members = torch.arange(num_members, device=windows.device)[:, None]
        loss = torch.zeros(())
        for _ in range(num_updates):
            chosen = torch.randint(num_windows, batch, generator=generator, device=windows.device)
            rows = windows[members, chosen]  # (M, n, L)
            loss = rollout_error(networks, data, rows, unit)
            if budget is not None:
                loss = loss + self.gate_weight * networks.excess(budget)
            if self.stability_weight:
                x = torch.cat([data.obs, data.action], 1)[rows[..., 0]]
                unstable = networks.instability(x, self.stability_radius)
                loss = loss + self.stability_weight * unstable
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        if not torch.isfinite(loss):
            raise NumericalFault(f"dynamics loss is {loss.item()} after {num_updates} updates")


def rollout_error(
    networks: InteractionNetworks, data: Transitions, rows: Tensor, unit: Tensor
) -> Tensor:
    """Compute the mean squared errors of rollouts, summed over the members.

    Args:
        networks: with M members.
        data: transitions (N, ...).
        rows: of each member's rollouts, (M, B, L).
        unit: (targets,) of the errors; the last is the reward's if it is a target.
    """
    obs_dim = data.obs.shape[1]
    obs, errors = data.obs[rows[..., 0]], []
    for t in range(rows.shape[2]):
        now = rows[..., t]
        change = networks(torch.cat([obs, data.action[now]], -1))
        obs = obs + change[..., :obs_dim]
        error = obs - data.next_obs[now]
        if len(unit) > obs_dim:
            reward_error = change[..., -1:] - data.reward[now][..., None]
            error = torch.cat([error, reward_error], -1)
        errors.append((error / unit).square().mean((1, 2)))
    return torch.stack(errors).mean(0).sum()
