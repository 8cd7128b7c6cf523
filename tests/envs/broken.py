"""Environments that are broken on purpose, each in its own way.

Every copy is sound but the one whose first reset is seeded with 1: of several made with seed 0 it
is environment 1. It breaks at its third step, or where its name says. `HOW` lists the ways.
"""

import gc
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SHAPE = (3,)


def endless() -> None:
    endless()


@dataclass
class Way:
    """How an environment breaks, and what must be said of it."""

    named: str  # regular expression: when trained on, "" where it does no harm
    step: int = 3
    limit: float | None = None  # time_limit that it takes
    process: bool = False  # breaks the process, or holds on to it: only a worker survives it
    doctor: str = ""  # regular expression; by default the same
    answer: dict[str, Any] = field(default_factory=dict)  # what its third step gives instead


def obs(value: Any, named: str, **more: Any) -> Way:
    return Way(named, answer={"obs": value}, **more)


def reward(value: Any, named: str) -> Way:
    return Way(named, answer={"reward": value})


def column(*values: float, dtype: Any = np.float64) -> np.ndarray:
    return np.array(values, dtype)


HOW = {
    "obs NaN": obs(column(0, np.nan, 0), "a NaN in the observation"),
    "obs inf": obs(column(0, np.inf, 0), "an infinity in the observation"),
    "obs beyond float32": obs(
        column(0, 1e300, 0), "an infinity in the observation", doctor="not in"
    ),
    "obs of another shape": obs(np.zeros((3, 1)), r"shape \(3, 1\), not numbers of shape \(3,\)"),
    "obs shorter": obs(np.zeros(1), r"shape \(1,\), not numbers of shape \(3,\)"),
    "obs longer": obs(np.zeros(4), r"shape \(4,\), not numbers"),
    "obs of text": obs(np.array(["a", "b", "c"]), "array of <U1"),
    "obs of objects": obs(np.array([1.0, None, 2.0]), "array of object"),
    "obs complex": obs(column(1j, 0, 0, dtype=complex), "array of complex128"),
    "obs nothing": obs(None, "the observation is nothing"),
    "obs ragged": obs([1.0, [2.0], 3.0], "raised ValueError"),
    "obs outside its space": obs(column(0, 99, 0), "", doctor="is not in Box"),
    "obs overwritten": Way("", doctor="shares memory with the one before", step=2),
    "reward NaN": reward(np.nan, "a NaN in the reward"),
    "reward inf": reward(-np.inf, "an infinity in the reward"),
    "reward an array": reward(np.ones(1), r"the reward is an array of float64 and shape \(1,\)"),
    "reward nothing": reward(None, "the reward is nothing"),
    "reward text": reward("1.0", "the reward is a str"),
    "terminated a number": Way("terminated is a float, not a bool", answer={"terminated": 0.0}),
    "terminated text": Way("terminated is a str, not a bool", answer={"terminated": "False"}),
    "truncated nothing": Way("truncated is nothing, not a bool", answer={"truncated": None}),
    "info missing": Way(r"step\(\) gave a tuple of 4, not"),
    "info a list": Way("the info is a list", answer={"info": []}),
    "reset without info": Way(r"reset\(\) gave an array of .*, not \(observation, info\)", step=0),
    "reset NaN": Way("a NaN in the observation", step=0),
    "reset raises": Way("raised RuntimeError: no start", step=0),
    "reset raises at an episode's end": Way("raised RuntimeError: no start"),
    "reset hangs": Way("no answer within 0.3 s", step=0, limit=0.3),
    "step raises": Way("raised ValueError: the robot fell off"),
    "step recurses": Way("raised RecursionError"),
    "step hangs": Way("no answer within 0.3 s", limit=0.3),
    "step hangs in C": Way("no answer within 2 s", limit=2.0, process=True),
    "exits": Way("raised SystemExit: 3"),
    "ends its process": Way(r"ended its process \(exit status 7\)", process=True),
    "is killed": Way(r"ended its process \(signal 9\)", process=True),
    "leaks memory": Way(r"has grown by \d+ MB; memory_limit=100", step=4, process=True),
    "close raises": Way("raised OSError when closed: still in use", step=5),
    "changes the action": Way("", doctor="changed the action it was given"),
    "does not repeat": Way("", doctor="does not repeat under the same seed"),
    "never ends": Way("", step=40, doctor="no episode has ended and there is no limit"),
}  # fmt: skip


class Broken(gymnasium.Env):
    """Sound until its third step: a counter in three numbers, over after 20 steps."""

    action_space = spaces.Box(-1, 1, (2,), np.float32)
    observation_space = spaces.Box(-9, 9, SHAPE, np.float64)

    def __init__(self, how: str):
        self.how, self.way = how, HOW[how]
        self.unlucky = False
        self.steps = 0
        self.hoard: list[np.ndarray] = []
        self.buffer = np.zeros(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.unlucky = seed == 1
        again, self.steps = self.steps > 0, 0
        found = np.full(3, self.np_random.uniform(-0.1, 0.1))
        if self.unlucky:
            match self.how:
                case "reset without info":
                    return found
                case "reset NaN":
                    found[0] = np.nan
                case "reset raises":
                    raise RuntimeError("no start")
                case "reset raises at an episode's end" if again:
                    raise RuntimeError("no start")
                case "reset hangs":
                    time.sleep(30)
        return found, {}

    def step(self, action):
        self.steps += 1
        found = {
            "obs": np.full(3, 0.1 * np.tanh(self.steps) + 0.1 * float(action[0])),
            "reward": 1.0,
            "terminated": self.steps >= 20 and self.how != "never ends",
            "truncated": False,
            "info": {},
        }
        if self.unlucky and self.how == "obs overwritten":
            self.buffer[:] = found["obs"]
            found["obs"] = self.buffer
        if self.unlucky and self.steps == 3:
            found |= self.way.answer
            self.go_wrong(action, found)
        if self.unlucky and self.steps == 3 and self.how == "info missing":
            del found["info"]
        return tuple(found.values())

    def go_wrong(self, action, found):
        match self.how:
            case "reset raises at an episode's end":
                found["terminated"] = True
            case "step raises":
                raise ValueError("the robot fell off")
            case "step recurses":
                gc.disable()  # so deep, no finalizer of what others left could run
                try:
                    endless()
                finally:
                    gc.enable()
            case "step hangs":
                time.sleep(30)
            case "step hangs in C":
                re.match("(a+)+$", "a" * 60 + "b")  # never lets another thread run
            case "exits":
                sys.exit(3)
            case "ends its process":
                os._exit(7)
            case "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "leaks memory":
                self.steps -= 1  # at every step from now on
                self.hoard.append(np.ones((8, 2**20)))  # 64 MB
            case "changes the action":
                action += 1
            case "does not repeat":
                found["obs"] = found["obs"] + 1e-9 * (time.monotonic_ns() % 1_000_003)

    def close(self):
        if self.unlucky and self.how == "close raises":
            raise OSError("still in use")


gymnasium.register("BrokenOnPurpose-v0", entry_point=Broken)
