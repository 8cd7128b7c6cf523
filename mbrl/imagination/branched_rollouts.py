"""Branched rollouts: short model rollouts from real states (MBPO)."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import NumericalFault
from mbrl.imagination.rollout import imagine
from mbrl.nn.products import products_for
from mbrl.roles import ActionSelector, Dynamics, Penalty, PolicyLearner
from mbrl.types import Transitions, read_waits


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
        with products_for(self._num_rollouts):
            return self._generate(real, length)

    def _generate(self, real: ReplayBuffer, length: int) -> dict[str, float]:
        """Add rollouts to the buffer; see generate."""
        imagined = self._make_room(real, length)
        obs = real.sample(self._num_rollouts, generator=self._generator).obs
        state = self._dynamics.initial(obs, generator=self._generator)
        waits = read_waits(obs)
        alive = torch.ones_like(obs[:, 0], dtype=torch.bool)
        means = _Means()
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
            if self._penalty is not None:
                penalty = self._penalty(transition, self._dynamics, self._learner)
                transition = transition._replace(reward=pred.reward - penalty)
                means.add("model/penalty_mean", penalty, rows)
            means.check(transition.next_obs, rows)
            means.check(transition.reward, rows)
            imagined.add_where(transition, rows)
            means.add("model/reward_mean", transition.reward, rows)
            alive = step.still_alive()
            if not waits and not alive.any():
                break
        means.add("model/alive", alive.float(), torch.ones_like(alive))
        return {"model/rollout_length": float(length)} | means.read()

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


class _Means:
    """Means over the rows of the latest step that has any, and a check; read at the end at once."""

    def __init__(self):
        """Start with none."""
        self._means: dict[str, Tensor] = {}
        self._finite: list[Tensor] = []  # () bool

    def add(self, name: str, values: Tensor, rows: Tensor) -> None:
        """Store the mean of values (B,) over rows (B,) bool, if there are any."""
        if not read_waits(values):
            if rows.any():
                self._means[name] = values[rows].mean()
            return
        count = rows.sum()
        mean = torch.where(rows, values, 0.0).sum() / count.clamp(min=1)
        self._means[name] = torch.where(count > 0, mean, self._means.get(name, torch.nan))

    def check(self, values: Tensor, rows: Tensor) -> None:
        """Check that values (B, ...) of rows (B,) bool are finite: at once where no read waits.

        Raises:
            NumericalFault: if they are not.
        """
        finite = torch.isfinite(values).flatten(1).all(1) if values.dim() > 1 else values.isfinite()
        self._finite.append((finite | ~rows).all())
        if not read_waits(values):
            self._raise_unless(bool(self._finite.pop()))

    def read(self) -> dict[str, float]:
        """Return the means that there are.

        Raises:
            NumericalFault: if a value was not finite.
        """
        names = list(self._means)
        finite = [flag.to(self._means[names[0]]) for flag in self._finite]
        numbers = torch.stack([*self._means.values(), *finite]).tolist()
        self._raise_unless(all(numbers[len(names) :]))
        means = dict(zip(names, numbers, strict=False))
        return {name: mean for name, mean in means.items() if not math.isnan(mean)}

    @staticmethod
    def _raise_unless(finite: bool) -> None:
        """Raise a NumericalFault where values were not finite."""
        if not finite:
            raise NumericalFault("the model predicted a NaN or an infinity")
