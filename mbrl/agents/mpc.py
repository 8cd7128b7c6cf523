"""Model predictive control: fit a model as data come in, plan in it at every step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.imagination.hold import ActionHold
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import ActionSelector, Agent, Dynamics, Plan, Planner, refusal_of
from mbrl.types import ActionSpec, map_tensors, where_rows
from mbrl.values import Count, CountOrZero, Positive, checked

_log = logging.getLogger(__name__)


@final
class MPC(Agent):
    """Planning agent: plan in the model, take the first action, plan again.

    PETS (Chua et al. 2018) is this agent with a probabilistic ensemble and CEM or iCEM, SINDy-MPC
    (Kaiser et al. 2018) with sparse equations. With the simulator itself as the model it plans from
    the first step, and nothing is fitted. While the model refuses to be used for control (see
    MayRefuse), actions are those of the warm-up, in evaluations too.

    Args:
        action: the environment's actions.
        dynamics: the model, refitted as data come in.
        planner: finds the actions; its action_hold is the number of steps each is held.
        generator: source of the agent's randomness.
        learning_starts: transitions before the first fit.
        retrain_interval: transitions between refits of the model; 0 never fits it.
        warmup: selects actions before the first fit; None draws uniform random ones.
        warmup_hold: steps for which each action of the warm-up is held; None for the planner's.
        deadline: seconds that the plans of a step may take, for all environments; the best ones so
            far are taken, and at least one iteration is made. Results then depend on the machine.
            None for no deadline but the planner's own.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        dynamics: Dynamics,
        planner: Planner,
        generator: torch.Generator | int,
        learning_starts: Count = 500,
        retrain_interval: CountOrZero = 250,
        warmup: ActionSelector | None = None,
        warmup_hold: Count | None = None,
        deadline: Positive | None = None,
    ):
        """Store the parts."""
        generator = as_generator(generator, action.low.device)
        self._action, self.device = action, action.low.device
        self.dynamics = dynamics
        self.planner = planner
        self._generator = generator
        self.needs_env_state = not dynamics.learned
        self._learning_starts = learning_starts if dynamics.learned else 0
        self._retrain_interval = retrain_interval if dynamics.learned else 0
        self._warmup, self._warmup_hold = warmup, warmup_hold or planner.action_hold
        self._deadline = deadline
        self._num_transitions = 0  # so far
        self._next_fit = learning_starts
        self._training, self._evaluation = _Episodes(planner), _Episodes(planner)
        self._eval_seed = generator.initial_seed() ^ 1
        self._eval_generator = torch.Generator(generator.device).manual_seed(self._eval_seed)

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim), those of the warm-up before the first fit; each is held."""
        episodes = self._training if explore else self._evaluation
        hold = episodes.hold
        due = episodes.due(obs)
        if due.any():
            generator = self._generator if explore else self._eval_generator
            waits = explore and self._num_transitions < self._learning_starts
            if waits or refusal_of(self.dynamics):
                action = self._warmup_action(obs, generator, explore)
                hold.decide(action, due, self._warmup_hold)
            else:
                hold.decide(self._plan(obs, episodes, due, generator, env_state), due)
        return hold.take()

    def _warmup_action(self, obs: Tensor, generator: torch.Generator, explore: bool) -> Tensor:
        """Return actions (E, act_dim) that need no model, for obs (E, obs_dim)."""
        if self._warmup is None:
            return self._action.sample(obs.shape[0], generator=generator)
        return self._action.clip(
            self._warmup.select(obs, generator=generator, deterministic=not explore)
        )

    def _plan(
        self,
        obs: Tensor,
        episodes: _Episodes,
        due: Tensor,
        generator: torch.Generator,
        env_state: Tensor | None,
    ) -> Tensor:
        """Return the first actions (E, act_dim) of plans where due (E,), zeros elsewhere.

        A plan starts from the environment's plan before, if there is one.
        """
        first = self._action.low.new_zeros(obs.shape[0], self._action.dim)
        end = None if self._deadline is None else time.monotonic() + self._deadline
        for rows, previous in episodes.groups(due):
            state = self.dynamics.initial(
                obs[rows], num_particles=self.planner.num_particles, generator=generator
            )
            if env_state is not None:
                state = self.dynamics.observe(state, first[rows], obs[rows], env_state[rows])
            plan = self.planner.plan(
                state,
                self.dynamics,
                generator=generator,
                previous=previous,
                deadline=None if end is None else max(end - time.monotonic(), 0.0),
            )
            episodes.remember(plan, rows)
            first[rows] = plan.actions[:, 0]
        return first

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Refit the model when due."""
        self._num_transitions = buffer.num_added
        if self._retrain_interval == 0 or self._num_transitions < self._next_fit:
            return {}
        self._next_fit = self._num_transitions + self._retrain_interval
        metrics = self.dynamics.fit(buffer.all(), generator=self._generator)
        if refusal := refusal_of(self.dynamics):
            _log.warning("MPC: actions are those of the warm-up: %s", refusal)
        return metrics

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Clear the plans of the environments in done (E,) bool; None = of all.

        A full reset of the evaluation also restarts its random draws.
        """
        (self._training if explore else self._evaluation).reset(done)
        if done is None and not explore:
            self._eval_generator.manual_seed(self._eval_seed)

    def state_dict(self) -> dict[str, Any]:
        """Return model, generator, counters and the plans of the running episodes."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._num_transitions,
            "next_fit": self._next_fit,
            "training": self._training.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.dynamics.load_state_dict(state["dynamics"])
        restore(self._generator, state["generator"])
        self._num_transitions = state["seen"]
        self._next_fit = state["next_fit"]
        self._training.load_state_dict(state["training"], self._action.low)


class _Episodes:
    """Plans and held actions of E running episodes.

    Args:
        planner: its memory is kept, and its action_hold.
    """

    def __init__(self, planner: Planner):
        self._planner = planner
        self.hold = ActionHold(planner.action_hold)
        self._memory: Any = None  # of the planner, E rows
        self._fresh: Tensor | None = None  # (E,) bool: no plan yet

    def due(self, obs: Tensor) -> Tensor:
        """Return which environments need a new action (E,) bool, for obs (E, obs_dim).

        Another number of environments than before starts new episodes.
        """
        if self._fresh is None or len(self._fresh) != len(obs):
            self._memory = self._planner.start(obs.shape[0])
            self._fresh = torch.ones(obs.shape[0], dtype=torch.bool, device=obs.device)
        return self.hold.due(obs)

    def reset(self, done: Tensor | None) -> None:
        """Clear the plans of the environments in done (E,) bool; None = of all."""
        if done is None:
            self.hold.reset()
            self._memory = self._fresh = None
        elif done.any() and self._fresh is not None:
            self.hold.reset(done)
            self._memory = where_rows(done, self._planner.start(done.shape[0]), self._memory)
            self._fresh = self._fresh | done

    def groups(self, due: Tensor) -> Iterator[tuple[Tensor, Plan | None]]:
        """Iterate over the environments in due (E,) in two groups: without a plan, and with one.

        Yields:
            Indices of a group, and its plan before; None for those without.
        """
        assert self._fresh is not None
        for mask, has_plan in ((due & self._fresh, False), (due & ~self._fresh, True)):
            rows = mask.nonzero().flatten()
            if len(rows):
                memory = map_tensors(lambda x, rows=rows: x[rows], self._memory)
                before = Plan(torch.empty(0), torch.empty(0), memory, {})
                yield rows, before if has_plan else None

    def remember(self, plan: Plan, rows: Tensor) -> None:
        """Store a plan's memory for the environments in rows, indices."""
        assert self._fresh is not None
        self._memory = map_tensors(
            lambda new, old: old.index_copy(0, rows, new), plan.warm_start, self._memory
        )
        self._fresh = self._fresh.index_fill(0, rows, False)

    def state_dict(self) -> dict[str, Any] | None:
        """Return everything as tensors; None if no episode is running."""
        if self._fresh is None:
            return None
        memory = _leaves(self._memory)
        return {**self.hold.state_dict(), "fresh": self._fresh, "memory": memory}

    def load_state_dict(self, state: dict[str, Any] | None, like: Tensor) -> None:
        """Restore a state_dict.

        Plans of another planner or horizon begin anew.

        Args:
            state: what state_dict has returned.
            like: an action (act_dim,), whose device is taken.
        """
        self.reset(None)
        if state is None:
            return
        held = {name: state[name].to(like.device) for name in ("left", "action")}
        self.hold.load_state_dict(held, len(like))
        num_envs = len(held["left"])
        self._memory = self._planner.start(num_envs)
        self._fresh = torch.ones(num_envs, dtype=torch.bool, device=like.device)
        saved, shapes = state["memory"], [x.shape for x in _leaves(self._memory)]
        if state["fresh"].shape == (num_envs,) and [x.shape for x in saved] == shapes:
            leaves = iter(saved)
            self._fresh = state["fresh"].to(like.device)
            self._memory = map_tensors(lambda _: next(leaves).to(like.device), self._memory)


def _leaves(memory: Any) -> list[Tensor]:
    """Return the tensors of a planner's memory."""
    leaves: list[Tensor] = []
    map_tensors(lambda x: leaves.append(x) or x, memory)
    return leaves
