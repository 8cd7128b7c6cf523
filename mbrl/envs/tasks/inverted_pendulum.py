"""InvertedPendulum-v5 and InvertedDoublePendulum-v5 of gymnasium: balance poles on a cart."""

from __future__ import annotations

from typing import final

import numpy as np
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import GYMNASIUM_ASSETS, add_uniform
from mbrl.types import Task


def tipped(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return where the pole leans by more than 0.2 rad: (B,) bool."""
    return next_obs[:, 1].abs() > 0.2


def upright(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return 1 while the pole stands: (B,)."""
    return (~tipped(obs, action, next_obs)).to(next_obs.dtype)


@final
class InvertedPendulum(MujocoTask):
    """One pole; 4 observations, 1 force."""

    model_path = GYMNASIUM_ASSETS / "inverted_pendulum.xml"
    frame_skip = 2
    max_episode_steps = 1000
    camera = {"trackbodyid": 0, "distance": 2.04}
    task = Task(
        reward=upright,
        terminated=tipped,
        obs_names=("x", "angle", "x_dot", "angle_dot"),
        positions=((0, 2), (1, 3)),
    )

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near upright."""
        add_uniform(qpos, 0.01, generator)
        add_uniform(qvel, 0.01, generator)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions and velocities."""
        xp = array_namespace(now["qpos"])
        return xp.concat((now["qpos"], now["qvel"]), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return 1 while the pole stands."""
        fell = abs(now["qpos"][:, 1]) > 0.2
        return ~fell * 1.0, fell

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return the reward, a whole number as in gymnasium."""
        return {"reward_survive": (abs(now["qpos"][:, 1]) <= 0.2) * 1}


@final
class InvertedDoublePendulum(MujocoTask):
    """Two poles; 9 observations, 1 force.

    Its termination depends on the simulator's own fields, so a model has to learn it.
    """

    model_path = GYMNASIUM_ASSETS / "inverted_double_pendulum.xml"
    frame_skip = 5
    max_episode_steps = 1000
    fields = ("site_xpos", "qfrc_constraint")
    task = Task(
        obs_names=(
            *("x", "sin_1", "sin_2", "cos_1", "cos_2", "x_dot", "angle_1_dot", "angle_2_dot"),
            "cart_constraint_force",
        ),
        angle_pairs=((3, 1), (4, 2)),
    )

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near upright."""
        add_uniform(qpos, 0.1, generator)
        qvel += generator.standard_normal(qvel.shape) * 0.1

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return the cart, the angles as sin and cos, clipped velocities and constraint force."""
        qpos = now["qpos"]
        xp = array_namespace(qpos)
        velocity = now["qvel"].clip(-10, 10)
        force = now["qfrc_constraint"][:, :1].clip(-10, 10)
        parts = (qpos[:, :1], xp.sin(qpos[:, 1:]), xp.cos(qpos[:, 1:]), velocity, force)
        return xp.concat(parts, axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return 10 while the tip is above 1, less its distance from 2 and the spin."""
        distance, spin, fell = self._terms(now)
        return 10.0 * ~fell - distance - spin, fell

    def _terms(self, now: Fields) -> tuple[ArrayOrTensor, ArrayOrTensor, ArrayOrTensor]:
        """Return the prices of distance and spin, and where the tip is too low: (E,) each."""
        x, y = now["site_xpos"][:, 0, 0], now["site_xpos"][:, 0, 2]
        spin_1, spin_2 = now["qvel"][:, 1], now["qvel"][:, 2]
        fell = y <= 1
        power = array_namespace(x).float_power
        # gymnasium squares scalars with pow(), whose last bit can differ from a product's
        distance = 0.01 * power(x, 2) + power(y - 2, 2)
        spin = 1e-3 * power(spin_1, 2) + 5e-3 * power(spin_2, 2)
        return distance, spin, fell

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return the terms of the reward, as gymnasium does."""
        distance, spin, fell = self._terms(now)
        penalties = {"distance_penalty": -distance, "velocity_penalty": -spin}
        return {"reward_survive": 10.0 * ~fell, **penalties}
