"""Role that makes a MuJoCo model an environment: start, observation, reward, termination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl.envs.simulation import Array
from mbrl.types import Task

Fields = dict[str, Array]  # MjData field -> (E, ...), always with qpos and qvel


class MujocoTask(ABC):
    """Equations that make a MuJoCo model an environment; a new one is one final subclass.

    Attributes:
        model_path: of the MJCF file.
        frame_skip: simulation steps per environment step.
        max_episode_steps: when an episode is truncated.
        task: what is known in closed form.
        fields: MjData fields read beside qpos and qvel.
        ends: whether any state terminates an episode.
        steers: whether control() changes the actions.
        camera: settings of MuJoCo's free camera by the names of mjvCamera, for pictures.
    """

    model_path: Path
    frame_skip: int
    max_episode_steps: int
    task: Task
    fields: tuple[str, ...] = ()
    ends: bool = True
    steers: bool = False
    camera: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample a start in place.

        Args:
            qpos: (nq,) the model's own posture.
            qvel: (nv,) zeros.
            generator: the environment's own.
        """

    @abstractmethod
    def observe(self, now: Fields) -> Array:
        """Return observations (E, obs_dim)."""

    @abstractmethod
    def outcome(
        self, before: Fields, action: NDArray[np.float32], now: Fields, dt: float
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return reward (E,) and terminated (E,) of a step of dt seconds with action (E, nu).

        Actions are float32, or float64 where gymnasium's caller passed such.
        """

    def start_info(self, now: Fields) -> dict[str, np.ndarray]:
        """Return what gymnasium's `info` holds after a reset: one array (E,) for each key."""
        return {}

    def step_info(
        self, before: Fields, action: NDArray[np.float32], now: Fields, dt: float
    ) -> dict[str, np.ndarray]:
        """Return what gymnasium's `info` holds after a step: one array (E,) for each key."""
        return {}

    def control(self, before: Fields, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the actuators' controls (E, nu) for actions (E, nu); called if steers is True."""
        return action
