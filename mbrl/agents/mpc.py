"""The planning agent: a model, refitted as data come in, and a planner that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.nn.generators import restore
from mbrl.roles import ActionSelector, Agent, Dynamics, EnvState, Plan, Planner
from mbrl.types import ActionSpec, map_tensors


class MPC(Agent):
    """Plan in the model, take the first action, plan again.

    PETS (Chua et al. 2018) is this agent with a probabilistic ensemble and CEM or iCEM, SINDy-MPC
    (Kaiser et al. 2018) with sparse equations. With the true simulator for a model it plans from
    the first step, and nothing is fitted.

    Args:
        action: the environment's actions.
        dynamics: the model, refitted as data come in.
        planner: how actions are found; its action_hold says how long each is held.
        generator: source of the agent's randomness.
        learning_starts: transitions before the first fit.
        retrain_interval: transitions between refits of the model; 0 never fits it.
        warmup: what acts before the first fit; None draws uniform random actions.
        warmup_hold: steps for which each action of the warm-up is held; None for the planner's.
    """

    def __init__(
        self,
        *,
        action: ActionSpec,
        dynamics: Dynamics,
        planner: Planner,
        generator: torch.Generator,
        learning_starts: int = 500,
        retrain_interval: int = 250,
        warmup: ActionSelector | None = None,
        warmup_hold: int | None = None,
    ):
        """Take the parts."""
        self._action = action
        self.dynamics = dynamics
        self.planner = planner
        self._generator = generator
        self._learning_starts = learning_starts if dynamics.learned else 0
        self._retrain_interval = retrain_interval if dynamics.learned else 0
        self._warmup, self._warmup_hold = warmup, warmup_hold or planner.action_hold
        self._seen = 0  # transitions learned from
        self._next_fit = learning_starts
        self._training, self._evaluation = _Track(), _Track()
        self._eval_seed = generator.initial_seed() ^ 1
        self._eval_generator = torch.Generator(generator.device).manual_seed(self._eval_seed)

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose actions (E, act_dim), those of the warm-up before the first fit; each is held."""
        track = self._training if explore else self._evaluation
        if track.left is None:
            track.begin(self.planner, obs)
        assert track.left is not None and track.action is not None
        due = track.left == 0
        if due.any():
            generator = self._generator if explore else self._eval_generator
            if explore and self._seen < self._learning_starts:
                track.hold(self._warm_up(obs, generator), due, self._warmup_hold)
            else:
                first = self._plan(obs, track, due, generator, env_state)
                track.hold(first, due, self.planner.action_hold)
        track.left = track.left - 1
        return track.action

    def _warm_up(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Choose actions (E, act_dim) that say something of the dynamics."""
        if self._warmup is None:
            return self._action.sample(obs.shape[0], generator=generator)
        return self._action.clip(self._warmup.select(obs, generator=generator))

    def _plan(
        self,
        obs: Tensor,
        track: _Track,
        due: Tensor,
        generator: torch.Generator,
        env_state: EnvState | None,
    ) -> Tensor:
        """Plan where due (E,), anew or from the plan before; first actions (E, act_dim)."""
        first = self._action.low.new_zeros(obs.shape[0], self._action.dim)
        simulated = None if env_state is None else env_state()
        for rows, previous in track.groups(due):
            here = obs[rows]
            state = self.dynamics.initial(
                here, num_particles=self.planner.num_particles, generator=generator
            )
            if simulated is not None:
                assert track.action is not None
                state = self.dynamics.observe(state, track.action[rows], here, simulated[rows])
            plan = self.planner.plan(state, self.dynamics, generator=generator, previous=previous)
            track.take(plan, rows)
            first[rows] = plan.actions[:, 0]
        return first

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Refit the model when due."""
        self._seen = buffer.num_added
        if self._retrain_interval == 0 or self._seen < self._next_fit:
            return {}
        self._next_fit = self._seen + self._retrain_interval
        return self.dynamics.fit(buffer.all(), generator=self._generator)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget the plans of the environments in done; an evaluation draws anew from its seed."""
        track = self._training if explore else self._evaluation
        if done is None:
            track.forget()
            if not explore:
                self._eval_generator.manual_seed(self._eval_seed)
        elif done.any() and track.left is not None:
            track.restart(self.planner, done)

    def state_dict(self) -> dict[str, Any]:
        """Give model, generator, counts and the plans of the running episodes."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._seen,
            "next_fit": self._next_fit,
            "training": self._training.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take everything back."""
        self.dynamics.load_state_dict(state["dynamics"])
        restore(self._generator, state["generator"])
        self._seen = state["seen"]
        self._next_fit = state["next_fit"]
        self._training.load_state_dict(state["training"], self.planner, self._generator.device)


class _Track:
    """The plans of E running episodes."""

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Have no episode running."""
        self.left: Tensor | None = None  # (E,) steps for which the action is still held
        self.action: Tensor | None = None  # (E, act_dim)
        self._memory: Any = None
        self._fresh: Tensor | None = None  # (E,) bool: no plan yet

    def begin(self, planner: Planner, obs: Tensor) -> None:
        """Begin episodes at obs (E, obs_dim)."""
        count = obs.shape[0]
        self._memory = planner.start(count)
        self._fresh = torch.ones(count, dtype=torch.bool, device=obs.device)
        self.left = torch.zeros(count, dtype=torch.int64, device=obs.device)
        self.action = obs.new_zeros(count, 0)

    def restart(self, planner: Planner, done: Tensor) -> None:
        """Begin the episodes in done (E,) anew."""
        assert self.left is not None and self._fresh is not None
        fresh = planner.start(done.shape[0])
        self._memory = map_tensors(partial(_choose, done), fresh, self._memory)
        self._fresh = self._fresh | done
        self.left = torch.where(done, 0, self.left)

    def groups(self, due: Tensor) -> Iterator[tuple[Tensor, Plan | None]]:
        """Part the environments in due (E,) by whether they have a plan to start from.

        Yields:
            Indices, and their plan before; None for those whose episode has just begun.
        """
        assert self._fresh is not None
        for where, begun in ((due & self._fresh, False), (due & ~self._fresh, True)):
            rows = where.nonzero().flatten()
            if len(rows):
                memory = map_tensors(lambda x, rows=rows: x[rows], self._memory)
                before = Plan(torch.empty(0), torch.empty(0), memory, {})
                yield rows, before if begun else None

    def take(self, plan: Plan, rows: Tensor) -> None:
        """Remember a plan for the environments in rows."""
        assert self._fresh is not None
        self._memory = map_tensors(
            lambda new, old: old.index_copy(0, rows, new), plan.warm_start, self._memory
        )
        self._fresh = self._fresh.index_fill(0, rows, False)

    def hold(self, action: Tensor, due: Tensor, steps: int) -> None:
        """Hold actions (E, act_dim) for some steps where they are due (E,)."""
        assert self.left is not None and self.action is not None
        self.action = action if due.all() else _choose(due, action, self.action)
        self.left = torch.where(due, steps, self.left)

    def state_dict(self) -> dict[str, Any] | None:
        """Give everything as tensors; None if no episode is running."""
        if self.left is None:
            return None
        leaves: list[Tensor] = []
        map_tensors(lambda x: leaves.append(x) or x, self._memory)
        return {"left": self.left, "action": self.action, "fresh": self._fresh, "memory": leaves}

    def load_state_dict(
        self, state: dict[str, Any] | None, planner: Planner, device: torch.device
    ) -> None:
        """Take it back."""
        self.forget()
        if state is None:
            return
        kept = (state[name].to(device) for name in ("left", "action", "fresh"))
        self.left, self.action, self._fresh = kept
        leaves = iter(state["memory"])
        empty = planner.start(state["left"].shape[0])
        self._memory = map_tensors(lambda x: next(leaves).to(device), empty)


def _choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take rows of new where mask (E,) holds, of old elsewhere; tensors are (E, ...)."""
    return torch.where(mask.view(-1, *([1] * (new.dim() - 1))), new, old)
