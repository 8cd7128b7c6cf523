"""What a dynamics reward buys outside the data: filters of one model, judge by judge, pool by pool.

python scripts/reward_consistency.py [--task refrigerator pendulum] [--seeds 100 101 ...]
    [--noise 0] [--out results/reward_consistency.csv]

Each seed draws its own data, ensemble and judges. Data come from where it is easy (a controller at
5 deg C; torques up to 0.7), the questions from where nothing was seen (a controller at -5 deg C;
torques up to 2): the true actions are replayed in each filtered model, open loop, and the error is
the mean over steps and observations, in standard deviations of the true rollouts.
One configuration for all tasks and seeds stands in this file.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.base import Dynamics
from mbrl.envs import make_vec, pendulum
from mbrl.envs.base import VecEnv
from mbrl.envs.tasks.refrigerator import after as cooled
from mbrl.types import Transitions

ENSEMBLE: dict[str, Any] = {
    "hidden": 64, "num_layers": 3, "batch_size": 128, "max_updates": 3000, "min_updates": 1000,
}  # fmt: skip


class Setting(NamedTuple):
    """A task outside its data."""

    data: Transitions  # (N, ...)
    obs: Tensor  # (H + 1, B, obs_dim) true rollouts
    action: Tensor  # (H, B, act_dim)
    env: VecEnv
    truth: Any  # (obs, action) -> next_obs


class Thermostat:
    """Hold a temperature in proportion, with noise."""

    def __init__(self, target: float, noise: float, generator: torch.Generator):
        self.target, self.noise, self.generator = target, noise, generator

    def __call__(self, obs: Tensor) -> Tensor:
        steady = 0.32 if self.target > 0 else 0.62  # about what holds it
        draw = torch.randn(obs.shape, generator=self.generator)
        return (steady + 0.15 * (obs - self.target) + self.noise * draw).clamp(0, 1)


def roll(env: VecEnv, act: Any, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Give obs (H + 1, B, n) and actions (H, B, m) of one episode of each environment."""
    seen, acted = [env.reset(seed)], []
    for _ in range(steps):
        acted.append(act(seen[-1]))
        seen.append(env.step(acted[-1]).next_obs)
    return torch.stack(seen), torch.stack(acted)


def flat(obs: Tensor, action: Tensor) -> Transitions:
    """Put rollouts into transitions, episode by episode."""
    steps, rows = action.shape[:2]
    parts = [x.transpose(0, 1).flatten(0, 1) for x in (obs[:-1], action, obs[1:])]
    zero = torch.zeros(steps * rows)
    never = zero.bool()
    episode = torch.arange(rows).repeat_interleave(steps)
    return Transitions(parts[0], parts[1], zero, parts[2], never, never, episode)


def refrigerator(seed: int, generator: torch.Generator) -> Setting:
    env = make_vec("Refrigerator-v0", 20, seed=seed)
    data = flat(*roll(env, Thermostat(5.0, 0.1, generator), 100, seed))
    env = make_vec("Refrigerator-v0", 50, seed=seed)
    obs, action = roll(env, Thermostat(-5.0, 0.0, generator), 100, 1_000_000 + seed)
    return Setting(
        data,
        obs,
        action,
        env,
        lambda s, a: cooled(s[:, 0].double(), a[:, 0].double())[:, None].float(),
    )


def swung(obs: Tensor, action: Tensor) -> Tensor:
    """Give the pendulum's successor."""
    angle, speed = torch.atan2(obs[:, 1], obs[:, 0]), obs[:, 2]
    speed = speed + (15.0 * torch.sin(angle) + 3.0 * action[:, 0].clamp(-2, 2)) * 0.05
    speed = speed.clamp(-8, 8)
    angle = angle + speed * 0.05
    return torch.stack([torch.cos(angle), torch.sin(angle), speed], 1)


class Held:
    """Draw torques uniformly and hold each for ten steps."""

    def __init__(self, most: float, generator: torch.Generator):
        self.most, self.generator, self.number = most, generator, 0

    def __call__(self, obs: Tensor) -> Tensor:
        if self.number % 10 == 0:
            draw = torch.rand(len(obs), 1, generator=self.generator)
            self.torque = self.most * (2 * draw - 1)
        self.number += 1
        return self.torque


def pendulum_outside(seed: int, generator: torch.Generator) -> Setting:
    env = pendulum(num_envs=25, seed=seed, max_torque=0.7)
    data = flat(*roll(env, Held(0.7, generator), 200, seed))
    env = pendulum(num_envs=50, seed=seed)
    obs, action = roll(env, Held(2.0, generator), 50, 1_000_000 + seed)
    return Setting(data, obs, action, env, swung)


TASKS = {"refrigerator": refrigerator, "pendulum": pendulum_outside}


def open_loop(model: Dynamics, setting: Setting, generator: torch.Generator) -> Tensor:
    """Replay the true actions: the error at each step and row (H, B)."""
    scale = setting.obs.flatten(0, 1).std(0).clamp(min=1e-6)
    state: Any = model.initial(setting.obs[0], generator=generator)
    errors = []
    for action, true in zip(setting.action, setting.obs[1:], strict=True):
        state, pred = model.step(state, action, generator=generator)
        errors.append(((pred.next_obs - true).clamp(-1e4, 1e4) / scale).abs().mean(1))
    return torch.stack(errors)
