"""Tasks outside their data, for reward_consistency.py and stop_rate.py.

Each draws data from where it is easy and true rollouts from where nothing was seen.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from mbrl.envs import SimulatedVecEnv, make_vec, pendulum
from mbrl.envs.mujoco import MujocoSimulation
from mbrl.envs.tasks.refrigerator import after as cooled
from mbrl.roles import VecEnv
from mbrl.types import Transitions


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
    """Return obs (H + 1, B, n) and actions (H, B, m) of one episode of each environment."""
    seen, acted = [env.reset(seed)], []
    for _ in range(steps):
        acted.append(act(seen[-1]))
        seen.append(env.step(acted[-1]).next_obs)
    return torch.stack(seen), torch.stack(acted)


def flat(obs: Tensor, action: Tensor) -> Transitions:
    """Convert rollouts into transitions, episode by episode."""
    steps, rows = action.shape[:2]
    parts = [x.transpose(0, 1).flatten(0, 1) for x in (obs[:-1], action, obs[1:])]
    zero = torch.zeros(steps * rows)
    never = zero.bool()
    episode = torch.arange(rows).repeat_interleave(steps)
    return Transitions(parts[0], parts[1], zero, parts[2], never, never, episode)


def refrigerator(seed: int, generator: torch.Generator) -> Setting:
    env = make_vec("Refrigerator-v0", 20, seed=seed)
    data = flat(*roll(env, Thermostat(5.0, 0.1, generator), 100, seed))
    env = make_vec("Refrigerator-v0", 30, seed=seed)
    obs, action = roll(env, Thermostat(-5.0, 0.0, generator), 100, 1_000_000 + seed)
    return Setting(
        data,
        obs,
        action,
        env,
        lambda s, a: cooled(s[:, 0].double(), a[:, 0].double())[:, None].float(),
    )


def swung(obs: Tensor, action: Tensor) -> Tensor:
    """Return the pendulum's successor."""
    angle, speed = torch.atan2(obs[:, 1], obs[:, 0]), obs[:, 2]
    speed = speed + (15.0 * torch.sin(angle) + 3.0 * action[:, 0].clamp(-2, 2)) * 0.05
    speed = speed.clamp(-8, 8)
    angle = angle + speed * 0.05
    return torch.stack([torch.cos(angle), torch.sin(angle), speed], 1)


class Held:
    """Draw torques uniformly and hold each for some steps."""

    def __init__(self, most: float, generator: torch.Generator, dim: int = 1, hold: int = 10):
        self.most, self.generator, self.dim, self.hold, self.number = most, generator, dim, hold, 0

    def __call__(self, obs: Tensor) -> Tensor:
        if self.number % self.hold == 0:
            draw = torch.rand(len(obs), self.dim, generator=self.generator)
            self.torque = self.most * (2 * draw - 1)
        self.number += 1
        return self.torque


def hang(env: SimulatedVecEnv, generator: torch.Generator) -> None:
    """Reset every pendulum to hang nearly still."""
    state = 0.1 * torch.randn(env.num_envs, 2, generator=generator, dtype=torch.float64)
    env.simulation.set_state((state + torch.tensor([torch.pi, 0.0])).numpy())


def swing(most: float, rows: int, steps: int, seed: int, generator: torch.Generator) -> Any:
    """Swing hanging pendulums with torques up to most."""
    env = pendulum(num_envs=rows, seed=seed, max_torque=most)
    env.reset(seed)
    hang(env, generator)
    angle, speed = torch.from_numpy(env.simulation.get_state()).T
    first = torch.stack([torch.cos(angle), torch.sin(angle), speed], 1).float()
    act, seen, acted = Held(most, generator), [first], []
    for _ in range(steps):
        acted.append(act(seen[-1]))
        seen.append(env.step(acted[-1]).next_obs)
    return env, torch.stack(seen), torch.stack(acted)


def pendulum_outside(seed: int, generator: torch.Generator) -> Setting:
    _, obs, action = swing(0.7, 25, 200, seed, generator)
    data = flat(obs, action)
    env, obs, action = swing(2.0, 30, 50, seed, generator)
    return Setting(data, obs, action, env, swung)


def pendulum_torque(seed: int, generator: torch.Generator) -> Setting:
    env = pendulum(num_envs=25, seed=seed, max_torque=0.7)
    data = flat(*roll(env, Held(0.7, generator), 200, seed))
    env = pendulum(num_envs=30, seed=seed)
    obs, action = roll(env, Held(2.0, generator), 50, 1_000_000 + seed)
    return Setting(data, obs, action, env, swung)


class Halfcheetah:
    """HalfCheetah-v5's successor of any observation: all of its state but where it is along x."""

    def __init__(self, env: VecEnv):
        assert isinstance(env, SimulatedVecEnv) and isinstance(env.simulation, MujocoSimulation)
        self.model = env.simulation.model
        self.data = mujoco.MjData(self.model)

    def __call__(self, obs: Tensor, action: Tensor) -> Tensor:
        found = np.empty(obs.shape)
        told = action.clamp(-1, 1).double().numpy()
        for row, (now, control) in enumerate(zip(obs.double().numpy(), told, strict=True)):
            mujoco.mj_resetData(self.model, self.data)
            self.data.qpos[1:], self.data.qvel[:] = now[:8], now[8:]
            self.data.ctrl[:] = control
            mujoco.mj_step(self.model, self.data, 5)
            found[row] = np.concatenate([self.data.qpos[1:], self.data.qvel])
        return torch.from_numpy(found).float()


def halfcheetah_outside(seed: int, generator: torch.Generator) -> Setting:
    env = make_vec("HalfCheetah-v5", 20, seed=seed)
    data = flat(*roll(env, Held(0.5, generator, 6, 3), 250, seed))
    env = make_vec("HalfCheetah-v5", 30, seed=seed)
    obs, action = roll(env, Held(1.0, generator, 6, 3), 50, 1_000_000 + seed)
    return Setting(data, obs, action, env, Halfcheetah(env))


TASKS: dict[str, Callable[[int, torch.Generator], Setting]] = {
    "refrigerator": refrigerator,
    "pendulum": pendulum_outside,
    "pendulum_torque": pendulum_torque,
    "halfcheetah": halfcheetah_outside,
}
