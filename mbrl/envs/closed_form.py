"""Environments whose state is one array and whose step is a formula."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.envs.guards import as_flags, as_numbers, as_pair, call_task
from mbrl.envs.simulation import (
    Action,
    Array,
    SimulatedSequences,
    SimulatedVecEnv,
    Simulation,
)
from mbrl.types import Task
from mbrl.values import NumEnvs, checked


class ClosedFormTask(ABC):
    """Equations of an environment; a new environment is one final subclass.

    All methods are batched and keep no memory: the state holds all that matters for what follows.

    Attributes:
        state_dim: length of a state.
        obs_dim: length of an observation.
        low: (act_dim,) smallest actions.
        high: (act_dim,) largest actions.
        max_episode_steps: when an episode is truncated.
        task: what is known of it, for models and planners; Task() if nothing is.
        largest_obs: (obs_dim,) largest sizes of the components of an observation, in the number
            format of gymnasium's space; None for no bounds, in float64.
    """

    state_dim: int
    obs_dim: int
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    max_episode_steps: int
    task: Task
    largest_obs: NDArray[np.floating] | None = None

    @abstractmethod
    def start(self, generators: list[np.random.Generator]) -> Array:
        """Sample start states (B, state_dim), each from its own of B generators."""

    @abstractmethod
    def observe(self, state: Array) -> Array:
        """Return observations (B, obs_dim) of states (B, state_dim)."""

    @abstractmethod
    def step(self, state: Array, action: NDArray[np.float32]) -> Array:
        """Return the states (B, state_dim) after actions (B, act_dim).

        Args:
            state: (B, state_dim), left as it is.
            action: (B, act_dim) as given by the agent; they may be outside the bounds.
        """

    @abstractmethod
    def outcome(
        self, state: Array, action: NDArray[np.float32], next_state: Array, next_obs: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the reward (B,) and terminated (B,) of a step.

        Args:
            state: (B, state_dim) before the step.
            action: (B, act_dim).
            next_state: (B, state_dim) after it.
            next_obs: (B, obs_dim) of next_state.
        """


@final
class ClosedFormSimulation(Simulation):
    """E copies of a ClosedFormTask, stepped at once.

    Args:
        task: the equations.
        num_envs: E.
    """

    @checked
    def __init__(self, task: ClosedFormTask, *, num_envs: NumEnvs = 1):
        """Allocate the states."""
        self.num_envs = num_envs
        self.obs_dim, self.low, self.high = task.obs_dim, task.low, task.high
        self.task, self.max_episode_steps = task.task, task.max_episode_steps
        self.largest_obs = task.largest_obs
        self._equations = task
        self._state = np.zeros((num_envs, task.state_dim))

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Start new episodes; see Simulation.start."""
        state = call_task("start", self._equations.start, generators, indices=indices)
        state = as_numbers("what start() returned", state, (len(indices), self._state.shape[1]))
        self._state[indices] = state
        return self._observe(state, indices)

    def advance(
        self, action: Action, active: NDArray[np.bool_] | None = None
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Compute one step; see Simulation.advance."""
        if active is None:
            state, obs, reward, terminated = self._step(self._state, action)
            self._state = state.copy()  # so that no observation shares its memory
            return obs, reward, terminated
        indices = np.flatnonzero(active).tolist()
        state, obs, reward, terminated = self._step(self._state[active], action[active], indices)
        self._state[active] = state
        rows = self.num_envs
        all_obs, all_reward = np.zeros((rows, self.obs_dim)), np.zeros(rows)
        all_terminated = np.zeros(rows, dtype=bool)
        all_obs[active], all_reward[active], all_terminated[active] = obs, reward, terminated
        return all_obs, all_reward, all_terminated

    def _step(
        self, state: Array, action: Action, indices: list[int] | None = None
    ) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Return next state (B, state_dim), obs (B, obs_dim), reward (B,) and terminated (B,)."""
        equations, rows = self._equations, len(state)
        next_state = call_task("step", equations.step, state, action, indices=indices)
        next_state = as_numbers("what step() returned", next_state, state.shape)
        obs = self._observe(next_state, indices)
        arguments = (state, action, next_state, obs)
        outcome = call_task("outcome", equations.outcome, *arguments, indices=indices)
        reward, terminated = as_pair("outcome", outcome)
        reward = as_numbers("the reward", reward, (rows,))
        return next_state, obs, reward, as_flags("terminated", terminated, (rows,))

    def _observe(self, state: Array, indices: list[int] | None) -> Array:
        """Return observations (B, obs_dim) of states (B, state_dim)."""
        obs = call_task("observe", self._equations.observe, state, indices=indices)
        return as_numbers("the observation", obs, (len(state), self.obs_dim))

    def simulate(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> SimulatedSequences:
        """Simulate action sequences from given states; see Simulation.simulate."""
        rows, horizon = action.shape[:2]
        obs, reward = np.empty((rows, horizon, self.obs_dim)), np.empty((rows, horizon))
        terminated = np.empty((rows, horizon), dtype=bool)
        with np.errstate(all="ignore"):  # of rows that blow up: they are marked
            for t in range(horizon):
                state, obs[:, t], reward[:, t], terminated[:, t] = self._step(state, action[:, t])
        finite = np.isfinite(obs).all(-1) & np.isfinite(reward)
        valid = np.logical_and.accumulate(finite, axis=1)
        return SimulatedSequences(obs, reward, terminated, valid, state if with_state else None)

    def get_state(self) -> Array:
        """Return the states (E, state_dim)."""
        return self._state.copy()

    def set_state(self, state: Array) -> None:
        """Set the states (E, state_dim)."""
        self._state = state.copy()

    def close(self) -> None:
        """Close nothing."""


@checked
def closed_form(
    task: ClosedFormTask,
    *,
    num_envs: NumEnvs = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of a ClosedFormTask.

    Args:
        task: the equations.
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    simulation = ClosedFormSimulation(task, num_envs=num_envs)
    return SimulatedVecEnv(simulation, seed=seed, dtype=dtype, device=device)
