"""Gymnasium's vector environments: seeds, options, and the three ways to begin new episodes."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from mbrl.errors import BadInput

Mask = NDArray[np.bool_]
Info = dict[str, Any]
Seeds = int | Sequence[int | None] | None
Outcome = tuple[np.ndarray, np.ndarray, Mask, Mask, dict[str, np.ndarray]]


class AutoresetVectorEnv(VectorEnv, ABC):
    """Vector environment whose rows start and step; how their episodes follow each other is here.

    Args:
        num_envs: E.
        observation_space: of one environment.
        action_space: of one environment.
        autoreset_mode: when an environment that has ended is reset, a mode of gymnasium or its
            name:
            "NextStep": in the next step, whose action it ignores and whose reward is 0.
            "SameStep": at once; the last observation is in info["final_obs"].
            "Disabled": by reset(options={"reset_mask": mask}).

    Raises:
        BadInput: if there is no such mode.
    """

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        """Build the batched spaces; there is no episode yet."""
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise BadInput(f"autoreset_mode={autoreset_mode!r}: should be one of {known}") from None
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._started = np.zeros(num_envs, dtype=bool)
        self._ended = np.zeros(num_envs, dtype=bool)  # and not reset yet

    @abstractmethod
    def _start(self, rows: Mask, seeds: list[int | None] | None) -> tuple[np.ndarray, Info]:
        """Start episodes.

        Args:
            rows: (E,) where.
            seeds: one for each of the E environments, None where its generator goes on; None if
                all of them go on.

        Returns:
            obs (E, ...) of all environments, and their info: one array (E, ...) for each key.
        """

    @abstractmethod
    def _advance(self, actions: Any, rows: Mask) -> Outcome:
        """Step environments.

        Args:
            actions: (E, ...).
            rows: (E,) where; what is returned for the others means nothing.

        Returns:
            next_obs (E, ...), reward (E,), terminated (E,), truncated (E,), and the info.
        """

    def reset(
        self, *, seed: Seeds = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """Start new episodes.

        Args:
            seed: of all environments, environment i is seeded with seed + i; or one for each, None
                where its generator goes on.
            options: {"reset_mask": (E,) bool} to start episodes there only.

        Raises:
            BadInput: if a seed or an option is not of this kind.
        """
        seeds = seeds_of(seed, self.num_envs)
        _check_kind(options)
        rows = self._rows_to_reset(dict(options or {}))
        obs, infos = self._start(rows, seeds)
        self._started |= rows
        self._ended &= ~rows
        return obs, _masked(infos, rows)

    def _rows_to_reset(self, options: dict[str, Any]) -> Mask:
        """Return where episodes start (E,)."""
        mask = options.pop("reset_mask", None)
        refuse_options(options)
        if mask is None:
            return np.ones(self.num_envs, dtype=bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (self.num_envs,):
            shape = f" {mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else ""
            raise BadInput(
                f"options: reset_mask is {type(mask).__name__}{shape}; should be a numpy array of "
                f"bool of shape ({self.num_envs},)"
            )
        if not mask.any():
            raise BadInput("options: reset_mask is True nowhere; should be so for an environment")
        return mask.copy()

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, Mask, Mask, Info]:
        """Step with actions (E, ...); see gymnasium's VectorEnv.

        Raises:
            ResetNeeded: if an environment has no episode yet.
            BadInput: if one has ended and autoreset is disabled.
        """
        if not self._started.all():
            raise ResetNeeded("Cannot call env.step() before calling env.reset()")
        mode, ended = self.autoreset_mode, self._ended
        if mode is AutoresetMode.DISABLED and ended.any():
            raise BadInput(
                f"step: the episodes of environments {np.flatnonzero(ended).tolist()} have ended; "
                'call reset(options={"reset_mask": mask}) first, or make with another '
                "autoreset_mode"
            )
        if ended.all():
            obs, info = self._start(ended, None)
            none = np.zeros_like(ended)
            self._ended = none.copy()
            return obs, np.zeros(self.num_envs), none, none.copy(), _masked(info, ended)
        obs, reward, terminated, truncated, info = self._advance(actions, ~ended)
        infos = _masked(info, ~ended)
        if ended.any():  # with NEXT_STEP, those of the step before
            first, started = self._start(ended, None)
            obs = _select(ended, first, obs)
            reward[ended], terminated[ended], truncated[ended] = 0, False, False
            _merge(infos, started, ended)
        done = terminated | truncated
        if mode is AutoresetMode.SAME_STEP and done.any():
            infos = _masked(info, ~done)
            infos |= {"final_obs": _objects(obs, done), "_final_obs": done.copy()}
            infos |= {"final_info": _masked(info, done), "_final_info": done.copy()}
            first, started = self._start(done, None)
            obs = _select(done, first, obs)
            _merge(infos, started, done)
            done = np.zeros_like(done)
        self._ended = done
        return obs, reward, terminated, truncated, infos

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of each environment; they share all but their generators."""
        value = getattr(self, name)
        return value if name in ("np_random", "np_random_seed") else (value,) * self.num_envs

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return what a method of each environment returns, or an attribute; see get_attr.

        Raises:
            BadInput: if it is a method, but not render: the environments are rows of one object.
        """
        if name == "render":
            return tuple(self.render() or ())
        if callable(getattr(self, name)):
            raise BadInput(f"call: the environments have no {name}() of their own")
        return self.get_attr(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Raise BadInput: the environments are rows of one object."""
        raise BadInput(f"set_attr: {name} cannot be set, the environments share their attributes")


def seeds_of(seed: Seeds, num_envs: int) -> list[int | None] | None:
    """Return one seed for each environment; None if no environment is seeded.

    Args:
        seed: one number, of which environment i takes seed + i; or one for each.
        num_envs: E.

    Raises:
        BadInput: if a seed is no whole number of at least 0, or there are not as many.
    """
    if seed is None:
        return None
    if isinstance(seed, np.ndarray) and seed.ndim == 0:
        return seeds_of(seed.item(), num_envs)
    if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str):
        seeds = list(seed)
        if len(seeds) != num_envs:
            raise BadInput(f"seed: {len(seeds)} seeds, there should be num_envs={num_envs}")
    else:
        check_seed(seed)
        seeds = [int(seed) + i for i in range(num_envs)]
    for each in seeds:
        if each is not None:
            check_seed(each)
    if all(each is None for each in seeds):
        return None
    return [None if each is None else int(each) for each in seeds]


def check_seed(seed: Any) -> None:
    """Check that a seed is a whole number of at least 0.

    Raises:
        BadInput: if it is not.
    """
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or seed < 0:
        raise BadInput(f"seed={seed!r}: should be a whole number, at least 0")


def refuse_options(options: dict[str, Any] | None) -> None:
    """Check that reset() has no options left.

    Raises:
        BadInput: naming them.
    """
    _check_kind(options)
    if options:
        raise BadInput(f"options: {', '.join(map(str, options))}: not an option of this reset()")


def _check_kind(options: Any) -> None:
    """Check that options are a dict, or None.

    Raises:
        BadInput: if they are not.
    """
    if options is not None and not isinstance(options, Mapping):
        raise BadInput(f"options: a {type(options).__name__} should be a dict or None")


def _masked(info: Info, rows: Mask) -> Info:
    """Return gymnasium's vector form of an info: zeros where rows are left out, and masks."""
    infos: Info = {}
    _merge(infos, info, rows)
    return infos


def _merge(infos: Info, info: Info, rows: Mask) -> None:
    """Write the rows of an info into the vector form of another; a key without rows is left out."""
    if not rows.any():
        return
    for key, values in info.items():
        if key not in infos:
            infos[key] = np.zeros_like(values)
            infos[f"_{key}"] = np.zeros(len(rows), dtype=bool)
        infos[key] = _select(rows, np.asarray(values), infos[key])
        infos[f"_{key}"] = infos[f"_{key}"] | rows


def _select(rows: Mask, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Return new (E, ...) in some rows and old in the others."""
    return np.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _objects(values: np.ndarray, rows: Mask) -> np.ndarray:
    """Return rows of values (E, ...) as an array (E,) of objects, None in the others."""
    objects = np.full(len(rows), None, dtype=object)
    for i in np.flatnonzero(rows):
        objects[i] = values[i].copy()
    return objects
