"""Role that makes a MuJoCo model an environment: start, observation, reward, termination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.types import Task

# MjData field -> (E, ...), always with qpos and qvel; all of them of the same library
Fields = Mapping[str, ArrayOrTensor]

FORCES = ("cacc", "cfrc_int", "cfrc_ext")  # fields that only mj_rnePostConstraint computes


class MujocoTask(ABC):
    """Equations that make a MuJoCo model an environment; a new one is one final subclass.

    All methods but `start` are given numpy arrays, float64, or torch tensors, on any device and in
    any number format, and return arrays of the same library and device. Operators, slices and
    the functions of `array_api_compat.array_namespace(now["qpos"])` are the same in both.

    Attributes:
        model_path: of the MJCF file.
        frame_skip: simulation steps per environment step.
        max_episode_steps: when an episode is truncated.
        task: what is known in closed form.
        fields: MjData fields read beside qpos and qvel. After a step, as in gymnasium, cacc,
            cfrc_int and cfrc_ext are those of mj_rnePostConstraint.
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
    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return observations (E, obs_dim)."""

    @abstractmethod
    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return reward (E,) and terminated (E,) of a step of dt seconds with action (E, nu).

        Actions are float32, or float64 where gymnasium's caller passed such.
        """

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return what gymnasium's `info` holds after a reset: one array (E,) for each key."""
        return {}

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return what gymnasium's `info` holds after a step: one array (E,) for each key."""
        return {}

    def control(self, before: Fields, action: ArrayOrTensor) -> ArrayOrTensor:
        """Return the actuators' controls (E, nu) for actions (E, nu); called if steers is True."""
        return action
