"""Environments that are broken on purpose, made and driven."""

import time

import pytest
import torch

from mbrl.envs import GymnasiumVecEnv
from mbrl.errors import EnvironmentFault
from tests.envs.broken import HOW

ID = "tests.envs.broken:BrokenOnPurpose-v0"

HERE = [how for how, way in HOW.items() if not way.process]

APART = [how for how, way in HOW.items() if way.process]


def make(how: str, num_envs: int = 3, *, kind=GymnasiumVecEnv, seed: int = 0, **more):
    limits = {
        "time_limit": HOW[how].limit,
        **({"memory_limit": 100} if how == "leaks memory" else {}),
    }
    return kind(ID, num_envs=num_envs, seed=seed, kwargs={"how": how}, **limits, **more)


def drive(env, steps: int = 5) -> None:
    env.reset(0)
    for _ in range(steps):
        env.step(torch.full((env.num_envs, 2), 0.5))
    env.close()


def check(how: str, env) -> None:
    way, began = HOW[how], time.monotonic()
    with pytest.raises(EnvironmentFault, match=way.named) as caught:
        drive(env)
    several = how != "leaks memory"  # whose memory it is cannot be told
    assert caught.value.index == (1 if several else None)
    assert abs(caught.value.step - way.step) <= (0 if several else 2)
    assert time.monotonic() - began < 10
