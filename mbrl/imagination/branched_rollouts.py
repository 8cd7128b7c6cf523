"""Branched rollouts: short model rollouts from real states (MBPO)."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import NumericalFault
from mbrl.imagination.rollout import imagine
from mbrl.roles import ActionSelector, Dynamics, Penalty, PolicyLearner
from mbrl.types import Transitions


@final
class BranchedRollouts:
    """Short model rollouts that start at real states, and the buffer that keeps them (MBPO).

    Janner et al. 2019. A rollout ends at a predicted termination and where the model is not valid.

    Args:
        dynamics: the model.
        actions: selects the actions.
        learner: given to the penalty.
        penalty: subtracted from the rewards; None for nothing.
        num_rollouts: rollouts that generate() starts.
        retain: calls of generate() whose transitions are kept.
        drop_invalid: leave out steps outside the model's validity region; otherwise they are kept
            as truncated: the value is bootstrapped from the predicted state.
        generator: source of start states, actions and the model's noise.

    Attributes:
        buffer: the imagined transitions; None before the first generate().
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
        """Start without imagined transitions."""
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
    def generate(self, real: ReplayBuffer, length: int) -> dict[str, float]:
        """Add rollouts from states of real, of at most length steps each, to the buffer.

        Args:
            real: transitions of the environment.
            length: steps of a rollout that does not end before.

        Returns:
            Metrics; model/alive is the fraction of rollouts that did not end before.

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        imagined = self._make_room(real, length)
        obs = real.sample(self._num_rollouts, generator=self._generator).obs
        state = self._dynamics.initial(obs, generator=self._generator)
        metrics: dict[str, float] = {"model/rollout_length": float(length)}
        alive = torch.ones_like(obs[:, 0], dtype=torch.bool)
        for step in imagine(
            self._dynamics, state, obs, self._select, length, generator=self._generator
        ):
            pred = step.prediction
            transition = Transitions(
                step.obs,
                step.action,
                pred.reward,
                pred.next_obs,
                pred.terminated,
                ~pred.valid,  # no end of the episode: the value is bootstrapped
                torch.zeros_like(alive, dtype=torch.int64),
            )
            rows = step.alive & pred.valid if self._drop_invalid else step.alive
            new = transition.select(rows)
            if self._penalty is not None:
                penalty = self._penalty(transition, self._dynamics, self._learner)[rows]
                new = new._replace(reward=new.reward - penalty)
                if rows.any():
                    metrics["model/penalty_mean"] = penalty.mean().item()
            if not (torch.isfinite(new.next_obs).all() and torch.isfinite(new.reward).all()):
                raise NumericalFault("the model predicted a NaN or an infinity")
            imagined.add(new)
            if rows.any():
                metrics["model/reward_mean"] = new.reward.mean().item()
            alive = step.still_alive()
            if not alive.any():
                break
        metrics["model/alive"] = alive.float().mean().item()
        return metrics

    def _select(self, index: int, obs: Tensor) -> Tensor:
        """Return actions (B, act_dim) for obs (B, obs_dim), at whichever step."""
        return self._actions.select(obs, generator=self._generator)

    def _make_room(self, real: ReplayBuffer, length: int) -> ReplayBuffer:
        """Return the buffer, of a size that holds the transitions of the last `retain` calls."""
        capacity = self._num_rollouts * length * self._retain
        old = self.buffer
        if old is None or old.capacity != capacity:
            self.buffer = ReplayBuffer(capacity, real.obs_dim, real.act_dim, real.device)
            if old is not None:
                self.buffer.add(old.all())
        elif self._retain == 1:
            old.clear()  # rollouts that end early would leave transitions of the last call
        assert self.buffer is not None
        return self.buffer

    def state_dict(self) -> dict[str, Any] | None:
        """Return the imagined transitions; None if there are none yet."""
        buffer = self.buffer
        if buffer is None:
            return None
        sizes = {
            "capacity": buffer.capacity,
            "obs_dim": buffer.obs_dim,
            "act_dim": buffer.act_dim,
        }
        return {**sizes, **buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore a state_dict, on the generator's device."""
        self.buffer = None
        if state is not None:
            self.buffer = ReplayBuffer(
                state["capacity"],
                state["obs_dim"],
                state["act_dim"],
                device=self._generator.device,
            )
            self.buffer.load_state_dict(state)
