"""Pendulum-v1 of gymnasium, batched in closed form, and a variant with a sparse reward."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.simulation import Array, SimulatedVecEnv, Simulation, Unrolled
from mbrl.envs.tasks.common import all_false, never
from mbrl.types import Task

DT, GRAVITY, MAX_SPEED, MAX_TORQUE = 0.05, 10.0, 8.0, 2.0
EQUATIONS = {
    "speed' - speed": f"{1.5 * GRAVITY * DT:.4g} sin + {3 * DT:.4g} u, speed' clipped at 8",
    "turn of (cos, sin)": f"{DT:.4g} speed'",
}


def swing_up(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Pay minus angle^2 + 0.1 speed^2 + 0.001 torque^2 of the state acted in: (B,)."""
    angle = torch.atan2(obs[:, 1], obs[:, 0])
    torque = action[:, 0].clamp(-MAX_TORQUE, MAX_TORQUE)
    return -(angle.square() + 0.1 * obs[:, 2].square() + 0.001 * torque.square())


def standing(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Pay 1 (B,) within 0.6 rad of upright at less than 2 rad/s, else 0."""
    angle = torch.atan2(next_obs[:, 1], next_obs[:, 0])
    return ((angle.abs() < 0.6) & (next_obs[:, 2].abs() < 2)).to(next_obs.dtype)


def onto_circle(obs: Tensor) -> Tensor:
    """Scale (cos, sin) of obs (B, 3) back to length 1."""
    circle = obs[:, :2] / obs[:, :2].norm(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.cat([circle, obs[:, 2:]], 1)


class PendulumSimulation(Simulation):
    """A rod of 1 m and 1 kg on a weak motor; 3 observations [cos, sin, speed], 1 torque.

    Args:
        num_envs: E.
        sparse: hang at the start, hold each torque for two steps, pay only while standing.
        max_torque: bound of the actions; the motor itself gives up to 2.
    """

    obs_dim = 3

    def __init__(self, *, num_envs: int = 1, sparse: bool = False, max_torque: float = MAX_TORQUE):
        """Allocate the state."""
        self.num_envs = num_envs
        self.max_episode_steps = 100 if sparse else 200
        self.low = np.array([-max_torque], dtype=np.float32)
        self.high = -self.low
        self.task = Task(
            reward=standing if sparse else swing_up,
            terminated=never,
            obs_names=("cos", "sin", "speed"),
            angle_pairs=((0, 1),),
            project=onto_circle,
            equations=None if sparse else EQUATIONS,
        )
        self._sparse = sparse
        self._state = np.zeros((num_envs, 2))  # angle (0 = up), speed

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Begin at any angle; hanging, if sparse."""
        high = np.array([math.pi, 1.0])
        for i, generator in zip(indices, generators, strict=True):
            if self._sparse:
                self._state[i] = [math.pi, 0] + 0.05 * generator.standard_normal(2)
            else:
                self._state[i] = generator.uniform(low=-high, high=high)
        return self._observe(self._state[indices])

    def _observe(self, state: Array) -> Array:
        """Give cos, sin and speed, rounded to float32 as gymnasium does."""
        angle, speed = state.T
        obs = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
        return obs.astype(np.float32).astype(np.float64)

    def advance(self, action: NDArray[np.float32]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Take one step; see Simulation.advance."""
        self._state, obs, reward = self._move(self._state, action)
        return obs, reward, all_false(obs)

    def _move(self, state: Array, action: NDArray[np.float32]) -> tuple[Array, Array, Array]:
        """Give the next state (B, 2), obs (B, 3) and reward (B,)."""
        torque = np.clip(action, -MAX_TORQUE, MAX_TORQUE)[:, 0]  # float32, as in gymnasium
        angle, speed = state.T
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        reward = -(wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2)
        for _ in range(2 if self._sparse else 1):
            speed = speed + (1.5 * GRAVITY * np.sin(angle) + 3.0 * torque) * DT
            speed = np.clip(speed, -MAX_SPEED, MAX_SPEED)
            angle = angle + speed * DT
        following = np.stack([angle, speed], axis=1)
        obs = self._observe(following)
        if self._sparse:
            seen = torch.from_numpy(obs)
            reward = standing(seen, seen, seen).numpy()
        return following, obs, reward

    def unroll(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> Unrolled:
        """Simulate and score sequences from given states; see Simulation.unroll."""
        rows, horizon = action.shape[:2]
        obs, reward = np.empty((rows, horizon, 3)), np.empty((rows, horizon))
        for t in range(horizon):
            state, obs[:, t], reward[:, t] = self._move(state, action[:, t])
        never_ends = np.zeros((rows, horizon), dtype=bool)
        return Unrolled(obs, reward, never_ends, ~never_ends, state if with_state else None)

    def get_state(self) -> Array:
        """Give angle and speed (E, 2)."""
        return self._state.copy()

    def set_state(self, state: Array) -> None:
        """Take angle and speed back."""
        self._state = state.copy()

    def close(self) -> None:
        """Free nothing."""


def pendulum(
    *,
    num_envs: int = 1,
    seed: int = 0,
    sparse: bool = False,
    max_torque: float = MAX_TORQUE,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Make a VecEnv of pendulums.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        sparse: hang at the start, hold each torque for two steps, pay only while standing.
        max_torque: bound of the actions; the motor itself gives up to 2.
        dtype: of observations and rewards.
        device: where tensors are handed out.
    """
    simulation = PendulumSimulation(num_envs=num_envs, sparse=sparse, max_torque=max_torque)
    return SimulatedVecEnv(simulation, seed=seed, dtype=dtype, device=device)
