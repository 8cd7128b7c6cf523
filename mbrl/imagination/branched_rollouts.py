"""Branched rollouts: short ones in the model, from real observations, kept to learn from."""

from __future__ import annotations

from typing import Any

import torch

from mbrl.buffer import ReplayBuffer
from mbrl.errors import NumericalFault
from mbrl.roles import ActionSelector, Dynamics, Penalty, PolicyLearner
from mbrl.types import Transitions


class BranchedRollouts:
    """Branch rollouts off real observations and keep them (Janner et al. 2019, MBPO).

    Args:
        dynamics: the model.
        actions: acts in it.
        learner: what a penalty may ask.
        penalty: taken off imagined rewards; None for nothing.
        num_rollouts: of a branching.
        retain: branchings whose rows are kept.
        drop_invalid: leave out steps that the model does not stand by; otherwise they are kept,
            truncated: the value is bootstrapped from what they predict.
        generator: source of the observations, the actions and the model's noise.

    Attributes:
        buffer: the imagined transitions; None before the first branching.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        actions: ActionSelector,
        learner: PolicyLearner,
        *,
        penalty: Penalty | None,
        num_rollouts: int,
        retain: int,
        drop_invalid: bool,
        generator: torch.Generator,
    ):
        """Take the parts."""
        self._dynamics = dynamics
        self._actions = actions
        self._learner = learner
        self._penalty = penalty
        self._num_rollouts = num_rollouts
        self._retain = retain
        self._drop_invalid = drop_invalid
        self._generator = generator
        self.buffer: ReplayBuffer | None = None

    @torch.no_grad()
    def branch(self, real: ReplayBuffer, length: int) -> dict[str, float]:
        """Imagine rollouts of at most length steps; what is older than `retain` drops out.

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        imagined = self._make_room(real, length)
        obs = real.sample(self._num_rollouts, generator=self._generator).obs
        state = self._dynamics.initial(obs, generator=self._generator)
        alive = torch.ones_like(obs[:, 0], dtype=torch.bool)
        metrics: dict[str, float] = {"model/rollout_length": float(length)}
        for _ in range(length):
            action = self._actions.select(obs, generator=self._generator)
            state, pred = self._dynamics.step(state, action, generator=self._generator)
            transition = Transitions(
                obs,
                action,
                pred.reward,
                pred.next_obs,
                pred.terminated,
                ~pred.valid,  # not an end of the episode: the value is bootstrapped
                torch.zeros_like(obs[:, 0], dtype=torch.int64),
            )
            taken = alive & pred.valid if self._drop_invalid else alive
            kept = Transitions(*(x[taken] for x in transition))
            if self._penalty is not None:
                cost = self._penalty(transition, self._dynamics, self._learner)[taken]
                kept = kept._replace(reward=kept.reward - cost)
                if taken.any():
                    metrics["model/penalty_mean"] = cost.mean().item()
            if not (torch.isfinite(kept.next_obs).all() and torch.isfinite(kept.reward).all()):
                raise NumericalFault("the model predicted a NaN or an infinity")
            imagined.add(kept)
            if taken.any():
                metrics["model/reward_mean"] = kept.reward.mean().item()
            obs = pred.next_obs
            alive = alive & pred.valid & ~pred.terminated
            if not alive.any():
                break
        metrics["model/alive"] = alive.float().mean().item()
        return metrics

    def _make_room(self, real: ReplayBuffer, length: int) -> ReplayBuffer:
        """Size the buffer so that what is older than `retain` branchings drops out."""
        capacity = self._num_rollouts * length * self._retain
        old = self.buffer
        if old is None or old.capacity != capacity:
            self.buffer = ReplayBuffer(capacity, real.obs_dim, real.act_dim, real.device)
            if old is not None:
                self.buffer.add(old.all())
        elif self._retain == 1:
            old.clear()  # rollouts cut short would leave rows of the last branching
        assert self.buffer is not None
        return self.buffer

    def state_dict(self) -> dict[str, Any] | None:
        """Give the imagined rows, None if there are none yet."""
        buffer = self.buffer
        if buffer is None:
            return None
        sizes = {name: getattr(buffer, name) for name in ("capacity", "obs_dim", "act_dim")}
        return {**sizes, **buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the rows back, to where the generator is."""
        self.buffer = None
        if state is not None:
            sizes = {name: state[name] for name in ("capacity", "obs_dim", "act_dim")}
            self.buffer = ReplayBuffer(**sizes, device=self._generator.device)
            self.buffer.load_state_dict(state)
