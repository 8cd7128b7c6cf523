"""Small environments that are odd or broken, each in one way; see doctor_cases.py."""

import os
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from mbrl.types import Task


def box(low: Any, high: Any, dtype: Any = np.float64) -> spaces.Box:
    """Return a box of any type."""
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


ACTIONS: dict[str, Any] = {
    "float64 bounds": lambda: box([-0.1], [0.1]),
    "float32 bounds": lambda: box([-0.1], [0.7], np.float32),
    "float16 bounds": lambda: box([-0.1], [0.1], np.float16),
    "a constant component": lambda: box([-1, 0], [1, 0], np.float32),
    "a constant that no float32 is": lambda: box([-1, 0.1], [1, 0.1]),
    "infinite bounds": lambda: box([-np.inf], [np.inf], np.float32),
    "one infinite bound": lambda: box([0, -1], [1, np.inf]),
    "bounds too wide for float32": lambda: box([-1e300], [1e300]),
    "a range too wide for float32": lambda: box([-3e38], [3e38], np.float32),
    "a box of integers": lambda: box([0], [5], np.int64),
    "a matrix of actions": lambda: box([[-1, -1]], [[1, 1]]),
    "multi-discrete actions": lambda: spaces.MultiDiscrete([2, 3]),
    "multi-binary actions": lambda: spaces.MultiBinary(2),
    "a dictionary of actions": lambda: spaces.Dict(a=box([-1], [1])),
    "a tuple of actions": lambda: spaces.Tuple((box([-1], [1]),)),
    "discrete actions from -1": lambda: spaces.Discrete(3, start=-1),
    "no action space": lambda: None,
}
OBSERVATIONS: dict[str, Any] = {
    "a dictionary of observations": lambda: spaces.Dict(a=box([-9], [9])),
    "discrete observations": lambda: spaces.Discrete(4),
    "images": lambda: spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "integer observations": lambda: spaces.Box(-9, 9, (2,), np.int64),
}


class Odd(gymnasium.Env):
    """A point in the plane that is pushed; 20 steps; odd in the way that its name says."""

    def __init__(self, how: str = ""):
        """Choose the spaces."""
        if how == "raises when made":
            raise ValueError("no such robot")
        self.how = how
        self.action_space = ACTIONS.get(how, lambda: box([-1], [1], np.float32))()
        self.observation_space = OBSERVATIONS.get(how, lambda: box([-9, -9], [9, 9]))()
        self.episodes = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start near the origin."""
        super().reset(seed=seed)
        self.episodes += 1
        self.age = 0
        draw = np.random.default_rng().uniform if self.how == "draws of its own" else None
        self.x = (draw or self.np_random.uniform)(-1, 1, 2)
        if self.how == "a start that depends on earlier episodes":
            self.x = self.x + 0.01 * self.episodes
        return self._obs(), {}

    def _obs(self) -> Any:
        """Return an observation of the space."""
        if self.how in OBSERVATIONS:
            self.observation_space.seed(self.age)
            return self.observation_space.sample()
        return self.x.copy()

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Move."""
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.age += 1
        total = float(np.sum(action)) if isinstance(self.action_space, spaces.Box) else 0.0
        self.x = 0.9 * self.x + 0.1 * np.tanh(total)
        result: list[Any] = [
            self._obs(), -float(np.abs(self.x).sum()), False, self.age >= 20, {},
        ]  # fmt: skip
        if self.how in ("never ends", "goes on after its limit"):
            result[3] = False
        if self.age == 4:
            self._go_wrong(action, result)
        return tuple(result)  # type: ignore[return-value]

    def _go_wrong(self, action: Any, result: list[Any]) -> None:
        """Break at the fourth step."""
        change: dict[str, Callable[[], Any]] = {
            "a NaN in the observation": lambda: result.__setitem__(0, np.array([0, np.nan])),
            "an infinite reward": lambda: result.__setitem__(1, np.inf),
            "a reward of text": lambda: result.__setitem__(1, "1"),
            "terminated is a number": lambda: result.__setitem__(2, 0.0),
            "an observation outside its space": lambda: result.__setitem__(0, np.array([0, 99.0])),
            "no info": lambda: result.pop(),
            "changes the action": lambda: action.__setitem__(0, 0.0),
            "divides by zero": lambda: 1 / 0,
            "hangs": lambda: time.sleep(60),
            "ends the process": lambda: os._exit(7),
        }
        change.get(self.how, lambda: None)()


def unstable() -> gymnasium.Env:
    """Return HalfCheetah with a step so long that MuJoCo resets it."""
    env = gymnasium.make("HalfCheetah-v5").unwrapped
    env.model.opt.timestep = 0.1  # type: ignore[attr-defined]
    return env


class Ignores(gymnasium.Wrapper):
    """Wrapper that hides a truncation."""

    def step(self, action: Any) -> Any:
        """Step, and never truncate."""
        obs, reward, terminated, _, info = self.env.step(action)
        return obs, reward, terminated, False, info


def beyond() -> gymnasium.Env:
    """Return an environment that goes on after the limit it is registered with."""
    return Ignores(Odd("goes on after its limit"))


def _reward(obs: Any, action: Any, next_obs: Any) -> Any:
    return -next_obs.abs().sum(1)


def right() -> Task:
    """Return a Task that is right."""
    return Task(reward=_reward, obs_names=("x", "y"))


def opposite() -> Task:
    """Return a Task whose reward has the opposite sign."""
    return Task(reward=lambda obs, action, next_obs: -_reward(obs, action, next_obs))


def ends() -> Task:
    """Return a Task with an end that never comes."""
    return Task(terminated=lambda obs, action, next_obs: next_obs[:, 0] > 0)


def one_name() -> Task:
    """Return a Task with too few names."""
    return Task(obs_names=("x",))


def no_angle() -> Task:
    """Return a Task whose angle is none."""
    return Task(angle_pairs=((0, 1),))


def column() -> Task:
    """Return a Task whose reward is a column."""
    return Task(reward=lambda obs, action, next_obs: _reward(obs, action, next_obs)[:, None])


def raises() -> Task:
    """Return a Task whose reward raises."""
    return Task(reward=lambda obs, action, next_obs: torch.zeros(3) @ next_obs)


gymnasium.register("Odd-v0", entry_point=f"{__name__}:Odd", max_episode_steps=30)
gymnasium.register("OddEndless-v0", entry_point=f"{__name__}:Odd")
gymnasium.register("OddBeyond-v0", entry_point=f"{__name__}:beyond")
gymnasium.register("OddUnstable-v0", entry_point=f"{__name__}:unstable", max_episode_steps=100)
