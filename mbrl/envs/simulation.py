"""From batched physics to a VecEnv: seeding, time limits, resets and checks."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, final, overload

import numpy as np
import torch
from gymnasium.utils import seeding
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.guards import action_array, check_finite, is_reward_term
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.imagination.vector_env import Seeds, seeds_of
from mbrl.roles import VecStep
from mbrl.task_check import check_task
from mbrl.types import ActionSpec, Prediction, Task, as_numbers

Array = NDArray[np.float64]
ArrayOrTensor = np.ndarray | Tensor  # of numpy, or of torch on any device
Action = NDArray[np.floating]  # float32, or float64 where a caller's are


class SimulatedSequences(NamedTuple):
    """Outcome of B sequences of H actions, each from a state of its own.

    Nothing is reset: after its termination a row may go on, or stand still with reward 0.
    """

    obs: Array  # (B, H, obs_dim) after each action
    reward: Array  # (B, H)
    terminated: NDArray[np.bool_]  # (B, H)
    valid: NDArray[np.bool_]  # (B, H) False from the step in which a simulation blew up
    state: Array | None  # (B, state_dim) at the end, if asked for


class Simulation(ABC):
    """Physics and equations of E environments, in float64 on the CPU.

    Attributes:
        num_envs: E.
        obs_dim: length of an observation.
        low: (act_dim,) smallest actions.
        high: (act_dim,) largest actions.
        task: what is known in closed form.
        max_episode_steps: when an episode is truncated.
        nominal_parameters: (P,) values in the model itself of the physical parameters that
            episodes draw anew. The last P numbers of a state are their values.
        largest_obs: (obs_dim,) largest sizes of the components of an observation, in the number
            format of gymnasium's space; None for no bounds, in float64.
    """

    num_envs: int
    obs_dim: int
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    task: Task
    max_episode_steps: int
    nominal_parameters: Array = np.empty(0)
    largest_obs: NDArray[np.floating] | None = None

    @abstractmethod
    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Start new episodes in some environments, each with its own generator.

        Args:
            indices: of the environments.
            generators: one for each of them.

        Returns:
            obs (len(indices), obs_dim).
        """

    @abstractmethod
    def advance(
        self, action: Action, active: NDArray[np.bool_] | None = None
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Step environments once.

        Args:
            action: (E, act_dim).
            active: (E,) which environments are stepped; None for all of them. What is returned for
                the others means nothing.

        Returns:
            next_obs (E, obs_dim), reward (E,), terminated (E,).

        Raises:
            EnvironmentFault: if an environment hangs or raises; the caller adds the step's number.
        """

    def start_info(self) -> dict[str, np.ndarray]:
        """Return what gymnasium's `info` holds after a reset: one array (E,) for each key."""
        return {}

    def step_info(self) -> dict[str, np.ndarray]:
        """Return what gymnasium's `info` holds after the latest step: one array (E,) for each key.

        It is asked for before any environment is started again.
        """
        return {}

    @abstractmethod
    def get_state(self) -> Array:
        """Return all that the physics needs to go on bit for bit: (E, state_dim)."""

    @abstractmethod
    def set_state(self, state: Array) -> None:
        """Restore what get_state returned, (E, state_dim)."""

    @abstractmethod
    def simulate(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> SimulatedSequences:
        """Simulate action sequences from given states; the environments stay as they are.

        Args:
            state: of get_state (B, state_dim); B is free.
            action: (B, H, act_dim).
            with_state: also return the states at the end.
        """

    def parameters_at(self, share: Array) -> Array:
        """Return physical parameters (B, P) at shares (B, P) of their ranges, from 0 to 1."""
        return share

    @abstractmethod
    def close(self) -> None:
        """Release threads and memory."""


@overload
def task_outcome(
    task: Task, obs: Array, action: Action, next_obs: Array
) -> tuple[Array, NDArray[np.bool_]]: ...


@overload
def task_outcome(
    task: Task, obs: ArrayOrTensor, action: ArrayOrTensor, next_obs: ArrayOrTensor
) -> tuple[ArrayOrTensor, ArrayOrTensor]: ...


def task_outcome(
    task: Task, obs: ArrayOrTensor, action: ArrayOrTensor, next_obs: ArrayOrTensor
) -> tuple[ArrayOrTensor, ArrayOrTensor]:
    """Compute reward (B,) and terminated (B,) by the functions of a Task.

    They are computed in the number format of observations and returned as arrays of their library.

    Args:
        task: with a reward function; without one of termination, nothing terminates.
        obs: (B, obs_dim) before the step.
        action: (B, act_dim).
        next_obs: (B, obs_dim) after it.
    """
    assert task.reward is not None, "the task has no reward function"
    before, after = torch.as_tensor(obs), torch.as_tensor(next_obs)
    step = (before, torch.as_tensor(action).to(before), after)
    reward = task.reward(*step)
    if task.terminated is None:
        terminated = torch.zeros_like(reward, dtype=torch.bool)
    else:
        terminated = task.terminated(*step)
    if isinstance(obs, Tensor):
        return reward, terminated
    return reward.numpy(), terminated.numpy()


@final
class CheckedSimulation:
    """Simulation whose numbers are checked, and whose faults name their environment and step.

    Args:
        simulation: the physics and equations.
        largest: the largest number that can be stored.

    Attributes:
        simulation: the same.
        steps: since construction.
        started: whether there are episodes to step.
    """

    def __init__(self, simulation: Simulation, *, largest: float = math.inf):
        """Start no episode."""
        self.simulation = simulation
        self.steps = 0
        self.started = False
        self._largest = largest

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Start new episodes; see Simulation.start."""
        try:
            obs = self.simulation.start(indices, generators)
        except Exception as error:
            raise self._fault(error) from error
        self.check("observation", obs, indices)
        self.started = True
        return obs

    def advance(
        self, action: np.ndarray, active: NDArray[np.bool_] | None = None
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Step environments once; see Simulation.advance.

        Raises:
            BadInput: if no episode has been started, or an action is not finite.
        """
        if not self.started:
            raise BadInput("step: there is no episode yet; call reset() first")
        self.steps += 1
        rows: Any = slice(None) if active is None else active
        indices = None if active is None else np.flatnonzero(active).tolist()
        wrong = np.flatnonzero(~np.isfinite(action[rows]).all(1))
        if len(wrong):
            index, values = (
                wrong[0] if indices is None else indices[wrong[0]],
                action[rows][wrong[0]],
            )
            raise BadInput(
                f"action: of environment {index}, step {self.steps}, should be finite: "
                f"{values.tolist()}"
            )
        try:
            if active is None:
                obs, reward, terminated = self.simulation.advance(action)
            else:
                obs, reward, terminated = self.simulation.advance(action, active)
        except Exception as error:
            raise self._fault(error) from error
        self.check("observation", obs[rows], indices)
        self.check("reward", reward[rows], indices)
        return obs, reward, terminated

    def simulate(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool
    ) -> SimulatedSequences:
        """Simulate action sequences; see Simulation.simulate."""
        try:
            return self.simulation.simulate(state, action, with_state=with_state)
        except Exception as error:
            what = f"in a simulated sequence, {self._fault(error).what}"
            raise EnvironmentFault(what, index=None, step=self.steps) from error

    def _fault(self, error: Exception) -> EnvironmentFault:
        """Return an exception of the simulation as a fault with the step's number."""
        if isinstance(error, EnvironmentFault):
            return EnvironmentFault(error.what, index=error.index, step=self.steps)
        index = 0 if self.simulation.num_envs == 1 else None
        what = f"raised {type(error).__name__}: {error}"
        return EnvironmentFault(what, index=index, step=self.steps)

    def check(self, what: str, values: np.ndarray, indices: list[int] | None = None) -> None:
        """Check that values (E, ...) are finite and can be stored.

        Args:
            what: name of the values.
            values: of one row per environment.
            indices: the environments that the rows belong to; None if to all of them.

        Raises:
            EnvironmentFault: naming the first environment with a value that is not.
        """
        check_finite(what, values, self._largest, self.steps, indices)


@final
class SimulatedVecEnv:
    """VecEnv of a Simulation: environments that end are reset in the same step.

    Args:
        simulation: the physics and equations.
        seed: environment i draws its starts from seed + i, in gymnasium's order.
        dtype: of observations and rewards; float64 keeps the simulation's own numbers.
        device: of the tensors that are returned; the simulation is on the CPU.

    Raises:
        BadInput: if the task does not fit the observations, or the seed or dtype is none.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        """Seed the generators; nothing is simulated before reset."""
        self.simulation = simulation
        self.num_envs = simulation.num_envs
        self.obs_dim = simulation.obs_dim
        self.task = check_task(simulation.task, simulation.obs_dim)
        self.max_episode_steps: int | None = simulation.max_episode_steps
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise BadInput(f"dtype={dtype}: should be torch.float32, or another of floats")
        self.device = torch.device(device)
        self.action = ActionSpec.box(simulation.low, simulation.high, device=self.device)
        self._dtype = dtype
        self._checked = CheckedSimulation(simulation, largest=torch.finfo(dtype).max)
        self._elapsed = np.zeros(self.num_envs, dtype=np.int64)
        self._generators: list[np.random.Generator] = [np.random.default_rng(0)] * self.num_envs
        self._seed(seed)

    def _seed(self, seed: Seeds) -> None:
        """Seed the generators; where there is no seed, they go on."""
        for i, each in enumerate(seeds_of(seed, self.num_envs) or []):
            if each is not None:
                self._generators[i] = seeding.np_random(each)[0]

    def reset(self, seed: Seeds = None) -> Tensor:
        """Start new episodes; see VecEnv.reset.

        Args:
            seed: environment i is seeded with seed + i, or with seed[i]; None goes on with their
                generators.

        Raises:
            BadInput: if there is another number of seeds, or one is no whole number.
        """
        self._seed(seed)
        self._elapsed[:] = 0
        obs = self._checked.start(list(range(self.num_envs)), self._generators)
        return self._tensor(obs)

    def step(self, action: Tensor) -> VecStep:
        """Step with actions (E, act_dim); see VecEnv.step.

        Raises:
            BadInput: if reset() has not been called.
        """
        array = action_array(action, self.num_envs, self.action.dim)
        successor, reward, terminated = self._checked.advance(array.astype(np.float32, copy=False))
        self._elapsed += 1
        truncated = self._elapsed >= self.simulation.max_episode_steps
        done = terminated | truncated
        next_obs = obs = self._tensor(successor)
        if done.any():
            ended = np.flatnonzero(done).tolist()
            self._elapsed[ended] = 0
            first = self._checked.start(ended, [self._generators[i] for i in ended])
            obs = next_obs.clone()
            obs[ended] = self._tensor(first)
        return VecStep(
            obs, next_obs, self._tensor(reward), self._flags(terminated), self._flags(truncated)
        )

    def reward_terms(self) -> dict[str, Tensor]:
        """Return the terms of the latest rewards, float64; see HasRewardTerms."""
        info = self.simulation.step_info()
        terms = {name: np.asarray(info[name], np.float64) for name in info if is_reward_term(name)}
        return {name: torch.from_numpy(term).to(self.device) for name, term in terms.items()}

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device, self._dtype)

    def _flags(self, array: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def env_state(self) -> Tensor | None:
        """Return the simulator's state (E, state_dim), float64."""
        return torch.from_numpy(self.simulation.get_state()).to(self.device)

    def simulate(
        self, state: Tensor, action: Tensor, *, with_state: bool = False
    ) -> tuple[Prediction, Tensor | None]:
        """Simulate action sequences from states of env_state; the environments stay as they are.

        Args:
            state: (B, state_dim); B is free.
            action: (B, H, act_dim) in environment units.
            with_state: also return the states at the end (B, state_dim).

        Returns:
            A prediction of each step (B, H, ...), valid = False from the one in which the
            simulation blew up; and the states, None if not asked for.

        Raises:
            BadInput: if states or actions are of another shape.
        """
        width = self.simulation.get_state().shape[1]
        state = as_numbers("state", state, ("B", width), finite=True).double()
        shape = (state.shape[0], "H", self.action.dim)
        action = as_numbers("action", action, shape)
        array = action.detach().cpu().numpy().astype(np.float32, copy=False)
        state = state.detach().cpu()
        result = self._checked.simulate(state.numpy(), array, with_state=with_state)
        prediction = Prediction(
            self._tensor(result.obs),
            self._tensor(result.reward),
            self._flags(result.terminated),
            self._flags(result.valid),
            None,
        )
        last = result.state
        return prediction, None if last is None else torch.from_numpy(last).to(self.device)

    def unroll(
        self, state: Tensor, action: Tensor, *, with_state: bool = False
    ) -> tuple[Prediction, Tensor | None]:
        """Simulate action sequences, by the former name of simulate.

        Args:
            state: (B, state_dim).
            action: (B, H, act_dim).
            with_state: also return the states at the end (B, state_dim).
        """
        warnings.warn("unroll is now simulate", DeprecationWarning, stacklevel=2)
        return self.simulate(state, action, with_state=with_state)

    @property
    def num_parameters(self) -> int:
        """Return the number of physical parameters that differ between episodes."""
        return len(self.simulation.nominal_parameters)

    def draw_parameters(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw physical parameters as episodes do: (count, P), float64."""
        share = torch.rand(count, self.num_parameters, dtype=torch.float64, generator=generator)
        return torch.from_numpy(self.simulation.parameters_at(share.numpy())).to(self.device)

    def nominal_parameters(self) -> Tensor:
        """Return the physical parameters of the model itself: (P,), float64."""
        return torch.tensor(self.simulation.nominal_parameters, device=self.device)

    def with_parameters(self, state: Tensor, parameters: Tensor) -> Tensor:
        """Return states of env_state (B, state_dim) with other physical parameters (B, P)."""
        return torch.cat([state[:, : state.shape[1] - self.num_parameters], parameters], dim=1)

    def state_dict(self) -> dict[str, Any]:
        """Return physics, generators and elapsed steps."""
        return {
            "simulation": torch.from_numpy(self.simulation.get_state()),
            "elapsed": torch.from_numpy(self._elapsed.copy()),
            "generators": [g.bit_generator.state for g in self._generators],
            "steps": self._checked.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict, to go on bit for bit.

        Raises:
            ValueError: if it is that of other environments.
        """
        right, saved = self.simulation.get_state().shape, tuple(state["simulation"].shape)
        if saved != right:
            raise ValueError(f"state: its simulation is of shape {saved}, should be {right}")
        self.simulation.set_state(state["simulation"].numpy())
        self._elapsed[:] = state["elapsed"].numpy()
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._checked.steps, self._checked.started = state["steps"], True

    def close(self) -> None:
        """Close the simulation."""
        self.simulation.close()
