"""The framework's environments as gymnasium's Env and VectorEnv, under ids `mbrl/...`."""

from __future__ import annotations

import dataclasses
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from mbrl.envs.pictures import DEFAULT_FPS, Camera, Picture, camera_of, frames_per_second
from mbrl.envs.registry import make_own
from mbrl.envs.simulation import Action, CheckedSimulation, SimulatedVecEnv, Simulation
from mbrl.envs.warp import WarpVecEnv
from mbrl.errors import BadInput
from mbrl.imagination.gymnasium_env import ModelVectorEnv
from mbrl.imagination.vector_env import (
    AutoresetVectorEnv,
    Info,
    Mask,
    Outcome,
    check_seed,
    refuse_options,
)
from mbrl.values import Count, check_value, checked

_METADATA = {"render_modes": ["rgb_array"], "render_fps": DEFAULT_FPS}


@final
class MbrlVectorEnv(AutoresetVectorEnv):
    """Gymnasium VectorEnv of one of the framework's environments, in float64.

    Args:
        name: of the framework's own environments, such as "Hopper-v5".
        num_envs: copies stepped at once.
        max_episode_steps: when an episode is truncated; None for the environment's own limit, -1
            for never.
        autoreset_mode: when an environment that has ended is reset, gymnasium's mode or its name:
            "NextStep": in the next step, as gymnasium's own vector environments do.
            "SameStep": at once; the last observation is in info["final_obs"].
            "Disabled": by reset(options={"reset_mask": mask}).
        render_mode: "rgb_array", or None for no pictures.
        seed: of the first reset that has none; None for a random one.
        width: of a picture, pixels.
        height: of a picture, pixels.
        camera_id: number of a camera of the MuJoCo model.
        camera_name: name of a camera of the MuJoCo model.
        kwargs: num_threads of a MuJoCo environment.

    Raises:
        BadInput: if a keyword is unknown or out of range.
    """

    metadata = {**_METADATA, "autoreset_mode": AutoresetMode.NEXT_STEP}

    @checked
    def __init__(
        self,
        name: str,
        num_envs: Count = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        seed: int | None = None,
        width: Count = 480,
        height: Count = 480,
        camera_id: int | None = None,
        camera_name: str | None = None,
        **kwargs: Any,
    ):
        """Build the simulation and the spaces."""
        simulation = _simulation(name, num_envs=num_envs, **kwargs)
        super().__init__(num_envs, *_spaces(simulation), autoreset_mode)
        self.metadata = {**self.metadata, "render_fps": frames_per_second(simulation)}
        if max_episode_steps is None:
            max_episode_steps = simulation.max_episode_steps
        if max_episode_steps != -1:
            check_value("max_episode_steps", max_episode_steps, Count, {})
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        view = {"width": width, "height": height}
        view |= {"camera_id": camera_id, "camera_name": camera_name}
        self._camera = _camera(simulation, render_mode, view)
        self._simulation = CheckedSimulation(simulation)
        self._seeds: list[int | None] = [None] * num_envs
        self._generators: list[np.random.Generator] = []
        self._obs = np.zeros((num_envs, simulation.obs_dim))
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._first_seed = seed

    @property
    def spec(self) -> EnvSpec | None:
        """Return gymnasium's specification, with the time limit that holds."""
        return self._spec

    @spec.setter
    def spec(self, value: EnvSpec | None) -> None:
        """Store gymnasium's specification."""
        limit = None if self.max_episode_steps == -1 else self.max_episode_steps
        copied = None if value is None else dataclasses.replace(value, max_episode_steps=limit)
        self._spec = copied

    _spec: EnvSpec | None = None

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Return the generators of the environments, as gymnasium's own vector environments do."""
        self._seed_all()
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """Return the seeds of the generators."""
        self._seed_all()
        return tuple(self._seeds)

    def _seed_all(self) -> None:
        """Make the generators, if there are none yet."""
        if not self._generators:
            base = self._first_seed
            seeds = [None if base is None else base + i for i in range(self.num_envs)]
            made = [seeding.np_random(seed) for seed in seeds]
            self._generators, self._seeds = [g for g, _ in made], [int(s) for _, s in made]

    def _start(self, rows: Mask, seeds: list[int | None] | None) -> tuple[np.ndarray, Info]:
        """Start episodes; see AutoresetVectorEnv."""
        self._seed_all()
        indices = np.flatnonzero(rows).tolist()
        for i in indices:
            seed = None if seeds is None else seeds[i]
            if seed is not None:
                self._generators[i], self._seeds[i] = seeding.np_random(seed)
        generators = [self._generators[i] for i in indices]
        self._obs = self._obs.copy()
        self._obs[rows] = self._simulation.start(indices, generators)
        self._elapsed[rows] = 0
        self._show()
        return self._obs.astype(self._dtype), self._simulation.simulation.start_info()

    def _advance(self, actions: Any, rows: Mask) -> Outcome:
        """Step environments; see AutoresetVectorEnv."""
        array = _floats(actions, self.action_space.shape or ())
        obs, reward, terminated = self._simulation.advance(array, None if rows.all() else rows)
        self._obs = np.where(rows[:, None], obs, self._obs)
        self._elapsed += rows
        truncated = np.zeros_like(rows)
        if self.max_episode_steps != -1:
            truncated = self._elapsed >= self.max_episode_steps
        self._show()
        ends = terminated.copy(), truncated
        info = self._simulation.simulation.step_info()
        return self._obs.astype(self._dtype), reward.copy(), *ends, info

    @property
    def _dtype(self) -> Any:
        """Return the number format of observations."""
        return self.single_observation_space.dtype

    def _show(self) -> None:
        """Update the camera, if there is one."""
        if self._camera is not None:
            self._camera.see(self._obs)

    def render(self) -> tuple[Picture, ...] | None:
        """Return a picture (height, width, 3) of each environment; None without a render_mode.

        Raises:
            BadInput: if there is no episode yet, or MuJoCo cannot render here.
        """
        if self._camera is None:
            return None
        if not self._started.all():
            raise ResetNeeded("Cannot call env.render() before calling env.reset()")
        return tuple(self._camera.picture(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the simulation and its pictures."""
        _close(self)


@final
class MbrlEnv(gymnasium.Env):
    """Gymnasium Env of one of the framework's environments, in float64.

    Episodes end by gymnasium's TimeLimit, which `gymnasium.make` adds.

    Args:
        name: of the framework's own environments, such as "Hopper-v5".
        render_mode: "rgb_array", or None for no pictures.
        seed: of the first reset that has none; None for a random one.
        width: of a picture, pixels.
        height: of a picture, pixels.
        camera_id: number of a camera of the MuJoCo model.
        camera_name: name of a camera of the MuJoCo model.
        kwargs: num_threads of a MuJoCo environment.

    Raises:
        BadInput: if a keyword is unknown or out of range.
    """

    metadata = {**_METADATA}

    @checked
    def __init__(
        self,
        name: str,
        *,
        render_mode: str | None = None,
        seed: int | None = None,
        width: Count = 480,
        height: Count = 480,
        camera_id: int | None = None,
        camera_name: str | None = None,
        **kwargs: Any,
    ):
        """Build the simulation and the spaces."""
        simulation = _simulation(name, **kwargs)
        self.observation_space, self.action_space = _spaces(simulation)
        self.metadata = {**_METADATA, "render_fps": frames_per_second(simulation)}
        self.render_mode = render_mode
        view = {"width": width, "height": height}
        view |= {"camera_id": camera_id, "camera_name": camera_name}
        self._camera = _camera(simulation, render_mode, view)
        self._simulation = CheckedSimulation(simulation)
        if seed is not None:
            check_seed(seed)
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """Start a new episode.

        Raises:
            BadInput: if there are options, or the seed is no whole number of at least 0.
        """
        refuse_options(options)
        if seed is not None:
            check_seed(seed)
        super().reset(seed=None if seed is None else int(seed))
        obs = self._simulation.start([0], [self.np_random])
        return self._seen(obs), _first(self._simulation.simulation.start_info())

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Step with an action (act_dim,); it is never truncated, see TimeLimit.

        Raises:
            ResetNeeded: before the first reset.
        """
        if not self._simulation.started:
            raise ResetNeeded("Cannot call env.step() before calling env.reset()")
        array = _floats(action, self.action_space.shape or ())
        obs, reward, terminated = self._simulation.advance(array[None])
        info = _first(self._simulation.simulation.step_info())
        return self._seen(obs), float(reward[0]), bool(terminated[0]), False, info

    def _seen(self, obs: np.ndarray) -> np.ndarray:
        """Return an observation (obs_dim,) in the space's own number format."""
        if self._camera is not None:
            self._camera.see(obs)
        return obs[0].astype(self.observation_space.dtype)

    def render(self) -> Picture | None:
        """Return a picture (height, width, 3); None without a render_mode.

        Raises:
            BadInput: if MuJoCo cannot render here.
        """
        if self._camera is None:
            return None
        if not self._simulation.started:
            raise ResetNeeded("Cannot call env.render() before calling env.reset()")
        return self._camera.picture(0)

    def close(self) -> None:
        """Close the simulation and its pictures."""
        _close(self)


def make_vector_env(
    name: str, num_envs: Count = 1, *, backend: str = "threads", **kwargs: Any
) -> VectorEnv:
    """Build a gymnasium VectorEnv of one of the framework's environments.

    Args:
        name: of the framework's own environments, such as "Hopper-v5".
        num_envs: copies stepped at once.
        backend: who steps a MuJoCo environment, "threads" or "warp"; see mujoco_env. With "warp"
            it is a ModelVectorEnv: float32, without `info` and pictures.
        kwargs: those of MbrlVectorEnv; with "warp" device, nconmax, njmax, max_episode_steps,
            autoreset_mode and seed.

    Raises:
        BadInput: if a keyword is unknown or out of range.
    """
    if backend != "warp":
        return MbrlVectorEnv(name, num_envs, **kwargs)
    if kwargs.pop("render_mode", None) is not None:
        raise BadInput("render_mode: should be None, or take backend=threads")
    mode = kwargs.pop("autoreset_mode", AutoresetMode.NEXT_STEP)
    limit = kwargs.pop("max_episode_steps", None)
    env = make_own(name, num_envs=num_envs, backend=backend, **kwargs)
    assert isinstance(env, WarpVecEnv)
    if limit is not None:
        check_value("max_episode_steps", limit, Count if limit != -1 else int, {})
        env.max_episode_steps = None if limit == -1 else limit
    return ModelVectorEnv(env, autoreset_mode=mode)


def _simulation(name: str, *, backend: str = "threads", **kwargs: Any) -> Simulation:
    """Return the simulation of one of the framework's environments.

    Raises:
        BadInput: if its back end has none.
    """
    if backend != "threads":
        raise BadInput(f"backend={backend}: should be threads, or warp in gymnasium.make_vec")
    env = make_own(name, **kwargs)
    assert isinstance(env, SimulatedVecEnv)
    return env.simulation


def _spaces(simulation: Simulation) -> tuple[spaces.Box, spaces.Box]:
    """Return observation and action space, as in gymnasium's own environment of that id."""
    actions = spaces.Box(simulation.low, simulation.high, dtype=np.float32)
    largest = simulation.largest_obs
    if largest is None:
        return spaces.Box(-np.inf, np.inf, (simulation.obs_dim,), np.float64), actions
    return spaces.Box(-largest, largest, dtype=largest.dtype.type), actions


def _camera(
    simulation: Simulation, render_mode: str | None, options: dict[str, Any]
) -> Camera | None:
    """Return what takes pictures, None if there are to be none.

    Raises:
        BadInput: if render_mode is unknown.
    """
    if render_mode is None:
        return None
    if render_mode not in _METADATA["render_modes"]:
        raise BadInput(f"render_mode={render_mode!r}: should be 'rgb_array' or None")
    return camera_of(simulation, **options)


def _close(env: MbrlVectorEnv | MbrlEnv) -> None:
    """Close an environment's simulation and pictures; a second time is harmless."""
    if env._camera is not None:
        env._camera.close()
    env._simulation.simulation.close()


def _floats(action: Any, shape: tuple[int, ...]) -> Action:
    """Return actions as float32, or as float64 where they are not float32.

    So they are used as gymnasium's own environments would use them.

    Raises:
        BadInput: if they are of another shape, or no numbers.
    """
    try:
        array = np.asarray(action.detach() if isinstance(action, Tensor) else action)
    except (TypeError, ValueError):  # rows of different lengths, or a tensor of a GPU
        kind = type(action).__name__
        raise BadInput(f"action: a {kind} should be numbers of shape {shape}, on the CPU") from None
    if array.dtype.kind not in "fiu" or np.ma.is_masked(action):
        kind = "masked numbers" if np.ma.is_masked(action) else str(array.dtype)
        raise BadInput(f"action: {kind} should be numbers of shape {shape}")
    if array.shape != shape:
        raise BadInput(f"action: shape should be {shape}, got {array.shape}")
    is_single = array.dtype.kind == "f" and array.dtype.itemsize == 4  # in any byte order
    return array.astype(np.float32 if is_single else np.float64, copy=False)


def _first(info: Info) -> Info:
    """Return the info of the first environment."""
    return {key: values[0].copy() for key, values in info.items()}
