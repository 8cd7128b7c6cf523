"""Gymnasium environments as a VecEnv: several copies, stepped one after the other."""

from __future__ import annotations

import ctypes
import difflib
import numbers
import warnings
from collections.abc import Callable, Sequence
from typing import Any, final

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mbrl.envs.guards import action_array, check_finite, is_reward_term
from mbrl.envs.mujoco_warnings import MujocoWatch
from mbrl.envs.spaces import NativeActions, observation_width, short
from mbrl.envs.time_limit import Hang, LimitedThread
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import VecStep
from mbrl.task_check import check_task
from mbrl.types import Task
from mbrl.values import Count, NumEnvs, Positive, checked

_LARGEST = float(np.finfo(np.float32).max)


def make_gymnasium(id: str, **kwargs: Any) -> gymnasium.Env:
    """Build one environment.

    Args:
        id: as registered with gymnasium.
        kwargs: keywords of the environment.

    Raises:
        BadInput: if the id is unknown, naming the nearest, or its keywords are refused.
        EnvironmentFault: if the environment raises while it is made.
    """
    try:
        with warnings.catch_warnings(record=True) as said:  # not of an id that is refused anyway
            env = gymnasium.make(id, disable_env_checker=True, **kwargs)
        for each in said:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        return env
    except gymnasium.error.DependencyNotInstalled as error:
        raise BadInput(f"id={id}: {str(error).splitlines()[0]}") from None
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        nearest = difflib.get_close_matches(id, list(gymnasium.registry), n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]}?" if nearest else str(error).splitlines()[0]
        hint += "" if ":" in id else f"; one of a module of yours is MODULE:{id}"
        raise BadInput(f"id={id}: no such gymnasium environment; {hint}") from None
    except gymnasium.error.Error as error:
        raise BadInput(f"id={id}: {' '.join(str(error).split())}") from None
    except TypeError as error:
        raise BadInput(f"kwargs={kwargs}: {id} refuses them: {error}") from None
    except ImportError as error:
        raise BadInput(f"id={id}: {error}") from None
    except (Exception, SystemExit) as error:
        what = f"raised {type(error).__name__} when it was made: {error}"
        raise EnvironmentFault(what, index=None, step=0) from error


class ContractError(Exception):
    """Violation of gymnasium's contract by an environment."""


@final
class GymnasiumVecEnv:
    """VecEnv of gymnasium environments; those that end are reset in the same step.

    A state_dict holds the start of the running episode (the last reset's seed or generator) and its
    actions; load_state_dict replays them. So the environment must be a function of these alone. One
    that is not is reported when its replay gives another observation.

    What an environment returns is checked against gymnasium's contract, and copied. It receives
    copies of the actions, so that it can change neither what was recorded nor what was chosen.

    Args:
        id: as registered with gymnasium; "module:Name-v0" imports the module that registers it.
        num_envs: copies.
        seed: environment i is seeded with seed + i.
        kwargs: keywords of the environment.
        task: what is known of it in closed form, such as mbrl.envs.tasks.cartpole; null: nothing.
        max_episode_steps: when an episode is truncated; null leaves it to the environment.
        strict: also refuse what does no harm here: an action changed in place, an observation that
            is outside its space or will be overwritten. `mbrl doctor env=gym` does.
        time_limit: seconds that a step or a reset of all copies may take; null for no limit.
        device: of the tensors that are returned.

    Attributes:
        obs_shape: of an observation before it is flattened.
        act_shape: of an action before it is flattened, () of a Discrete space.
        first_action: number of the first action of a Discrete space.
        observation_space: gymnasium's, of one environment.
        action_space: gymnasium's, of one environment.

    Raises:
        BadInput: if the id is unknown or its spaces are not supported.
    """

    task: Task

    @checked
    def __init__(
        self,
        id: str,
        *,
        num_envs: NumEnvs = 1,
        seed: int = 0,
        kwargs: dict[str, Any] | None = None,
        task: Task | None = None,
        max_episode_steps: Count | None = None,
        strict: bool = False,
        time_limit: Positive | None = None,
        device: torch.device | str = "cpu",
    ):
        """Make the copies."""
        options = dict(kwargs or {})
        if max_episode_steps is not None:
            options["max_episode_steps"] = max_episode_steps
        copies = [make_gymnasium(id, **options) for _ in range(num_envs)]
        self._wrap(id, copies, seed, time_limit, strict, device)
        self.task = check_task(task, self.obs_dim)

    @classmethod
    def around(
        cls,
        envs: Sequence[gymnasium.Env],
        *,
        task: Task | None = None,
        seed: int = 0,
        time_limit: float | None = None,
        strict: bool = False,
        device: torch.device | str = "cpu",
    ) -> GymnasiumVecEnv:
        """Return a VecEnv of environments that exist already, such as a user's own.

        Args:
            envs: at least one, all with the same spaces.
            task: what is known of it in closed form; None: nothing.
            seed: environment i is seeded with seed + i.
            time_limit: seconds that a step or a reset of all of them may take; None for no limit.
            strict: also refuse what does no harm here.
            device: of the tensors that are returned.

        Raises:
            BadInput: if there is none, one is no gymnasium Env, or their spaces differ or are not
                supported.
        """
        self = cls.__new__(cls)
        copies: list[Any] = list(envs) if isinstance(envs, list | tuple) else [envs]
        if not copies:
            raise BadInput("envs=[]: should be at least one gymnasium Env")
        for env in copies:
            if not isinstance(env, gymnasium.Env):
                raise BadInput(f"envs: a {type(env).__name__} should be a gymnasium Env")
        for number, env in enumerate(copies):
            earlier = [other.unwrapped is env.unwrapped for other in copies[:number]]
            if any(earlier):
                raise BadInput(
                    f"envs: number {number} is the same object as number {earlier.index(True)}; "
                    "each should be an Env of its own"
                )
        name = type(copies[0].unwrapped).__name__
        for what in ("observation_space", "action_space"):
            each = [getattr(env, what, None) for env in copies]
            for number, other in enumerate(each):
                if other != each[0]:
                    raise BadInput(
                        f"envs: {what} of number {number} is {short(other)}, of number 0 "
                        f"{short(each[0])}; they should be the same"
                    )
        self._wrap(name, copies, seed, time_limit, strict, device)
        self.task = check_task(task, self.obs_dim)
        return self

    def with_task(self, task: Task) -> GymnasiumVecEnv:
        """Set what is known of it in closed form; return itself.

        Raises:
            BadInput: if the Task does not fit the observations.
        """
        self.task = check_task(task, self.obs_dim)
        return self

    def _wrap(
        self,
        id: str,
        envs: list[gymnasium.Env],
        seed: int,
        time_limit: float | None,
        strict: bool,
        device: torch.device | str,
    ) -> None:
        """Read the spaces of the copies and allocate what a step needs."""
        self._envs = envs
        first, num_envs = envs[0], len(envs)
        self.num_envs = num_envs
        self.observation_space: Any = getattr(first, "observation_space", None)
        self.action_space: Any = getattr(first, "action_space", None)
        self.obs_dim = observation_width(id, self.observation_space)
        self.obs_shape: tuple[int, ...] = tuple(self.observation_space.shape)
        self.device = torch.device(device)
        self._actions_of = NativeActions(id, self.action_space, self.device)
        self.action = self._actions_of.spec
        self.act_shape = self._actions_of.shape
        self.first_action = self._actions_of.first
        self.max_episode_steps = _episode_limit(first)
        self._strict = strict
        self._returned: list[Any] = [None] * num_envs  # latest, to see whether it is overwritten
        self._seed = seed
        self._time_limit = time_limit
        self._thread = LimitedThread(time_limit) if time_limit is not None else None
        self._steps = 0  # since construction, to name a fault
        self.turn = ctypes.c_int(0)  # the environment being run
        self._last = np.zeros((num_envs, self.obs_dim))  # the latest observations
        self._starts: list[Any] = [seed + i for i in range(num_envs)]
        self._options: list[dict[str, Any] | None] = [None] * num_envs  # of the running episodes
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]  # since the start
        self._watches = [MujocoWatch(env) for env in envs]
        self._infos: list[dict[str, Any]] = [{} for _ in envs]  # of the latest steps, if strict

    def reset(
        self, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> Tensor:
        """Start new episodes; see VecEnv.reset.

        Args:
            seed: environment i is seeded with seed + i, or with seed[i]; None goes on with their
                generators.
            options: of this start, as gymnasium's reset takes them.

        Raises:
            BadInput: if there is another number of seeds, or one is no whole number.
        """
        seeds = seeds_of(seed, self.num_envs)
        if seeds is None and not self._steps:
            # the first reset is seeded in any case, so that a run repeats
            seeds = seeds_of(self._seed, self.num_envs)
        obs = np.empty((self.num_envs, self.obs_dim))

        def work() -> None:
            for i in range(self.num_envs):
                obs[i] = self._start(i, None if seeds is None else seeds[i], options)

        self._guarded(work)
        self._check("observation", obs)
        self._last = obs
        return self._tensor(obs)

    def step(self, action: Tensor) -> VecStep:
        """Step with actions (E, act_dim); see VecEnv.step.

        Raises:
            BadInput: if reset() has not been called, or the actions do not fit.
        """
        if self._returned[0] is None:
            raise BadInput("step: there is no episode yet; call reset() first")
        self._steps += 1
        array = action_array(action, self.num_envs, self.action.dim)
        self._check("action", array)
        next_obs = np.empty((self.num_envs, self.obs_dim))
        obs, reward = np.empty_like(next_obs), np.empty(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), dtype=bool)

        def work() -> None:
            for i in range(self.num_envs):
                self.turn.value = i
                self._actions[i].append(array[i].copy())
                next_obs[i], reward[i], terminated[i], truncated[i] = self._step_one(i, array[i])
                obs[i] = next_obs[i]
                if terminated[i] or truncated[i]:
                    obs[i] = self._start(i, None)

        self._guarded(work)
        for what, values in (("observation", next_obs), ("observation", obs), ("reward", reward)):
            self._check(what, values)
        self._last = obs
        flags = [torch.from_numpy(x).to(self.device) for x in (terminated, truncated)]
        return VecStep(self._tensor(obs), self._tensor(next_obs), self._tensor(reward), *flags)

    def _start(self, i: int, seed: int | None, options: dict[str, Any] | None = None) -> np.ndarray:
        """Start an episode and remember its seed or generator."""
        self.turn.value = i
        env = self._envs[i]
        self._starts[i] = env.unwrapped.np_random.bit_generator.state if seed is None else seed
        self._options[i] = options
        self._actions[i] = []
        result = env.reset(seed=seed, options=options)
        self._watches[i].start()
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ContractError(f"reset() gave {_kind(result)}, not (observation, info)")
        if not isinstance(result[1], dict):
            raise ContractError(f"the info of reset() is {_kind(result[1])}, not a dict")
        return self._observation(i, result[0])

    def _step_one(self, i: int, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Step one environment and check what it returns."""
        native = self._actions_of.convert(action)
        result = self._envs[i].step(native)
        if self._strict and not np.array_equal(native, self._actions_of.convert(action)):
            raise ContractError("changed the action it was given")
        if not (isinstance(result, tuple) and len(result) == 5):
            raise ContractError(
                f"step() gave {_kind(result)}, not "
                "(observation, reward, terminated, truncated, info)"
            )
        obs, reward, terminated, truncated, info = result
        reward: Any
        if not isinstance(reward, float) and _scalar_kind(reward) not in "iuf":
            raise ContractError(f"the reward is {_kind(reward)}, not a number")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, bool) and _scalar_kind(flag) != "b":
                raise ContractError(f"{name} is {_kind(flag)}, not a bool")
        if not isinstance(info, dict):
            raise ContractError(f"the info is {_kind(info)}, not a dict")
        problem = self._watches[i].problem()
        if problem is not None:
            raise ContractError(problem)
        if self._strict:
            self._infos[i] = info
        return self._observation(i, obs), float(reward), bool(terminated), bool(truncated)

    def _observation(self, i: int, obs: Any) -> np.ndarray:
        """Check an observation and flatten it."""
        array = obs if isinstance(obs, np.ndarray) else np.asarray(obs)
        if isinstance(array, np.ma.MaskedArray):  # its masked numbers mean nothing
            raise ContractError("the observation is a masked array, not an array of numbers")
        shape = self.observation_space.shape
        if array.shape != shape or array.dtype.kind not in "iuf":
            raise ContractError(f"the observation is {_kind(obs)}, not numbers of shape {shape}")
        if self._strict and np.isfinite(array).all():  # others are named by what they are
            if not self.observation_space.contains(obs):
                raise ContractError(
                    f"the observation, {_kind(obs)}, is not in {short(self.observation_space)}"
                )
            before = self._returned[i]
            if isinstance(before, np.ndarray) and np.shares_memory(array, before):
                raise ContractError(
                    "the observation shares memory with the one before; return a copy"
                )
        self._returned[i] = obs
        return array.ravel()

    def _guarded(self, work: Callable[[], Any]) -> None:
        """Run work; raise an EnvironmentFault that names the environment that raised or hung."""
        try:
            if self._thread is None:
                work()
            else:
                self._thread.run(work)
        except Hang:
            what = f"no answer within {self._time_limit} s"
            raise EnvironmentFault(what, index=self.turn.value, step=self._steps) from None
        except ContractError as error:
            raise EnvironmentFault(str(error), index=self.turn.value, step=self._steps) from None
        except (Exception, SystemExit) as error:
            what = f"raised {type(error).__name__}: {error}"
            raise EnvironmentFault(what, index=self.turn.value, step=self._steps) from error

    def _check(self, what: str, values: np.ndarray) -> None:
        """Check that values are finite in float32."""
        check_finite(what, values, _LARGEST, self._steps)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device, torch.float32)

    def reward_terms(self) -> dict[str, Tensor]:
        """Return the terms of the latest rewards, if it is strict; see HasRewardTerms."""
        names = dict.fromkeys(
            key
            for info in self._infos
            for key, value in info.items()
            if isinstance(key, str) and is_reward_term(key) and _scalar_kind(value) in "biuf"
        )
        rows = [[float(info.get(name, np.nan)) for info in self._infos] for name in names]
        return dict(zip(names, torch.tensor(rows, dtype=torch.float64), strict=True))

    def env_state(self) -> Tensor | None:
        """Return None: the state of such an environment is not known."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the starts of the running episodes and the actions since then."""
        taken = [torch.from_numpy(np.array(a)) if a else None for a in self._actions]
        last = torch.from_numpy(self._last.copy())
        return {
            "starts": list(self._starts),
            "options": list(self._options),
            "taken": taken,
            "steps": self._steps,
            "last": last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes.

        Raises:
            ValueError: if they are those of another number of environments.
            EnvironmentFault: also if an observation differs from the one that was saved.
        """
        if len(state["starts"]) != self.num_envs:
            saved = len(state["starts"])
            raise ValueError(f"state: of {saved} environments, should be of {self.num_envs}")
        self._steps = state["steps"]
        options = state.get("options", [None] * self.num_envs)  # older checkpoints have none
        rows = list(zip(state["starts"], options, state["taken"], strict=True))
        obs = np.empty((self.num_envs, self.obs_dim))
        self._guarded(lambda: [self._replay(i, *row, obs) for i, row in enumerate(rows)])
        self._last = state["last"].numpy().copy()
        for i, (replayed, saved) in enumerate(zip(obs, self._last, strict=True)):
            if not np.array_equal(replayed, saved):
                what = (
                    "does not repeat: the same seed and actions gave another observation, so a "
                    "resumed run would not be the same; begin a new one"
                )
                raise EnvironmentFault(what, index=i, step=self._steps)

    def _replay(
        self,
        i: int,
        start: Any,
        options: dict[str, Any] | None,
        taken: Tensor | None,
        obs: np.ndarray,
    ) -> None:
        """Replay one environment's episode; write its observation to obs[i]."""
        self.turn.value = i
        env = self._envs[i]
        if isinstance(start, int):
            obs[i] = self._start(i, start, options)
        else:
            env.reset(seed=0)  # so that there is a generator to set
            env.unwrapped.np_random.bit_generator.state = start
            obs[i] = self._start(i, None, options)
        for row in [] if taken is None else taken.numpy():
            self._actions[i].append(row)
            obs[i], *_ = self._step_one(i, row)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: its episodes are replayed.

        The copy of an environment need not be in the same state: those of gymnasium's MuJoCo
        environments are made anew by their constructor.
        """
        running = None if self._returned[0] is None else self.state_dict()
        return {**vars(self), "_watches": [], "running": running}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy, which goes on as the other does."""
        running = state.pop("running")
        vars(self).update(state)
        self._watches = [MujocoWatch(env) for env in self._envs]
        if running is not None:
            self.load_state_dict(running)

    def close(self) -> None:
        """Close the copies."""
        if self._thread is not None:
            self._thread.close()
        for i, env in enumerate(self._envs):
            try:
                env.close()
            except Exception as error:
                what = f"raised {type(error).__name__} when closed: {error}"
                raise EnvironmentFault(what, index=i, step=self._steps) from error


def seeds_of(seed: Any, num_envs: int) -> list[int] | None:
    """Return a seed for each environment, None if there is no seed.

    Args:
        seed: environment i gets seed + i, or seed[i] of a sequence; None for no seed.
        num_envs: how many environments there are.

    Raises:
        BadInput: if there is another number of seeds, or one is no whole number from 0.
    """
    if seed is None:
        return None
    if isinstance(seed, np.ndarray) and seed.ndim == 0:
        seed = seed.item()
    several = isinstance(seed, list | tuple | np.ndarray)
    each = list(seed) if several else [seed]
    for value in each:
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
            raise BadInput(f"seed={seed!r}: should be a whole number from 0, or {num_envs} of them")
    if not several:
        return [int(seed) + i for i in range(num_envs)]
    if len(each) != num_envs:
        raise BadInput(f"seed={seed!r}: should be {num_envs} seeds, one for each environment")
    return [int(value) for value in each]


def _episode_limit(env: Any) -> int | None:
    """Return when an episode is truncated, by the spec or by a TimeLimit; None if neither says."""
    limit = env.spec.max_episode_steps if getattr(env, "spec", None) else None
    while limit is None and isinstance(env, gymnasium.Wrapper):
        limit = getattr(env, "_max_episode_steps", None)
        env = env.env
    return None if limit is None or limit < 0 else int(limit)


def _scalar_kind(value: Any) -> str:
    """Return numpy's kind of a scalar, "-" for an array."""
    array = np.asarray(value)
    return "-" if array.ndim else array.dtype.kind


def _kind(value: Any) -> str:
    """Return what a value is, in a few words."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
