"""Small environments that are odd or broken, each in one way; see doctor_cases.py."""

import os
import sys
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
    "a scalar action": lambda: spaces.Box(-1, 1, (), np.float32),
    "half-infinite bounds": lambda: box([0], [np.inf], np.float32),
    "bounds of 1e30": lambda: box([-1e30], [1e30], np.float32),
    "no float32 between the bounds": lambda: box([1e8 + 1], [1e8 + 2]),
    "one discrete action": lambda: spaces.Discrete(1),
    "ten million actions": lambda: spaces.Discrete(10**7),
    "actions of text": lambda: spaces.Text(3),
    "a class in place of an action space": lambda: spaces.Box,
}
OBSERVATIONS: dict[str, Any] = {
    "a dictionary of observations": lambda: spaces.Dict(a=box([-9], [9])),
    "discrete observations": lambda: spaces.Discrete(4),
    "images": lambda: spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "integer observations": lambda: spaces.Box(-9, 9, (2,), np.int64),
    "a scalar observation": lambda: spaces.Box(-9, 9, (), np.float32),
    "a matrix of observations": lambda: spaces.Box(-9, 9, (2, 3), np.float64),
    "float16 observations": lambda: spaces.Box(-9, 9, (2,), np.float16),
    "bytes in a row": lambda: spaces.Box(0, 255, (5,), np.uint8),
    "flags for observations": lambda: spaces.MultiBinary(3),
    "half-infinite observations": lambda: box([-np.inf, 0], [0, np.inf]),
    "goals in a dictionary": lambda: spaces.Dict(
        observation=box([-9], [9]), achieved_goal=box([-9], [9]), desired_goal=box([-9], [9])
    ),
    "no observation of any number": lambda: box([], [], np.float32),
    "no observation space": lambda: None,
}
RESETS: dict[str, Callable[[Any], Any]] = {  # observation -> what reset() returns
    "a reset without an info": lambda obs: obs,
    "a reset whose info is None": lambda obs: (obs, None),
    "a NaN at the start": lambda obs: (np.array([np.nan, 0]), {}),
    "a masked observation": lambda obs: (np.ma.masked_array(obs, [False, True]), {}),
    "complex observations": lambda obs: (obs.astype(complex), {}),
    "an observation in a column": lambda obs: (obs[:, None], {}),
}
RESULTS: dict[str, Callable[[list[Any]], Any]] = {  # of each step, changed in place
    "a reward without dimensions": lambda r: r.__setitem__(1, np.array(r[1])),
    "a reward in an array": lambda r: r.__setitem__(1, np.array([r[1]])),
    "a float32 reward": lambda r: r.__setitem__(1, np.float32(r[1])),
    "whole rewards": lambda r: r.__setitem__(1, -1),
    "a reward of a tensor": lambda r: r.__setitem__(1, torch.tensor(r[1])),
    "no reward": lambda r: r.__setitem__(1, None),
    "a complex reward": lambda r: r.__setitem__(1, 1j),
    "a reward that is True": lambda r: r.__setitem__(1, True),
    "a reward beyond float32": lambda r: r.__setitem__(1, 1e39),
    "terminated is a numpy.bool": lambda r: r.__setitem__(2, np.bool_(False)),
    "terminated is None": lambda r: r.__setitem__(2, None),
    "terminated is an array": lambda r: r.__setitem__(2, np.array([False])),
    "terminates and truncates at once": lambda r: r.__setitem__(2, r[3]),
    "ends with its first step": lambda r: r.__setitem__(2, True),
    "a large info": lambda r: r[4].update(picture=np.zeros((300, 300)), text="x" * 1000),
    "the info is a list": lambda r: r.__setitem__(4, []),
    "an observation as a list": lambda r: r.__setitem__(0, r[0].tolist()),
    "an observation of another width": lambda r: r.__setitem__(0, np.zeros(3)),
    "no observation": lambda r: r.__setitem__(0, None),
    "reward terms": lambda r: r[4].update(reward_near=r[1] - 1.0, reward_alive=1.0, note="x"),
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
        self.shown = np.zeros(2)

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
        if self.how == "a reset that raises":
            raise RuntimeError("the motor\nis off")
        if self.how == "a second reset that raises" and self.episodes > 1:
            raise RuntimeError("no second episode")
        obs = self._obs()
        return RESETS[self.how](obs) if self.how in RESETS else (obs, {})

    def _obs(self) -> Any:
        """Return an observation of the space."""
        if self.how == "an observation that is overwritten":
            self.shown[:] = self.x
            return self.shown
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
        if self.how in RESULTS:
            RESULTS[self.how](result)
        if self.how == "reward terms that do not add up":
            result[4] = {"reward_near": result[1] - 1.0, "reward_alive": 1.0 + (self.age >= 4) / 2}
        if self.how in ("never ends", "goes on after its limit"):
            result[3] = False
        if self.age == 4:
            self._go_wrong(action, result)
        return tuple(result)  # type: ignore[return-value]

    def close(self) -> None:
        """Close, unless it raises."""
        if self.how == "raises when closed":
            raise RuntimeError("the port is busy")

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
            "raises in several lines": lambda: {}["a\nb\n"],
            "leaves by SystemExit": lambda: sys.exit(3),
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


def short() -> gymnasium.Env:
    """Return an environment whose episodes have one step."""
    return gymnasium.wrappers.TimeLimit(Odd(), 1)


def delayed() -> gymnasium.Env:
    """Return an environment whose observations are two steps late."""
    return gymnasium.wrappers.DelayObservation(Odd(), 2)


def stacked() -> gymnasium.Env:
    """Return an environment that shows its last three observations."""
    return gymnasium.wrappers.FrameStackObservation(Odd(), 3)


def normalized() -> gymnasium.Env:
    """Return an environment whose rewards are divided by what it has seen before."""
    return gymnasium.wrappers.NormalizeReward(Odd())


def sticky() -> gymnasium.Env:
    """Return an environment that repeats an action at random."""
    return gymnasium.wrappers.StickyAction(Odd(), 0.3)


def rescaled() -> gymnasium.Env:
    """Return an environment whose actions are rescaled."""
    low, high = np.array([-2], np.float32), np.array([2], np.float32)
    return gymnasium.wrappers.RescaleAction(Odd(), low, high)


for wrapped in (short, delayed, stacked, normalized, sticky, rescaled):
    id = f"Odd{wrapped.__name__.capitalize()}-v0"
    gymnasium.register(id, entry_point=f"{__name__}:{wrapped.__name__}", max_episode_steps=30)
gymnasium.register("Odd-v0", entry_point=f"{__name__}:Odd", max_episode_steps=30)
gymnasium.register("OddEndless-v0", entry_point=f"{__name__}:Odd")
gymnasium.register("OddBeyond-v0", entry_point=f"{__name__}:beyond")
gymnasium.register("OddUnstable-v0", entry_point=f"{__name__}:unstable", max_episode_steps=100)
