"""Humanoid-v5 of gymnasium: walk forward on two legs."""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from typing import final

import mujoco
import numpy as np
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import (
    FORCES,
    FREE_JOINT,
    GYMNASIUM_ASSETS,
    add_uniform,
    constant,
    control_cost,
    plane_info,
)
from mbrl.types import Task

_ABDOMEN = ("abdomen_z", "abdomen_y", "abdomen_x")
_LIMBS = tuple(
    f"{side}_{joint}"
    for joints in (("hip_x", "hip_z", "hip_y", "knee"), ("shoulder1", "shoulder2", "elbow"))
    for side in ("right", "left")
    for joint in joints
)
_JOINTS = (*_ABDOMEN, *_LIMBS)
_BODIES = (
    *("torso", "lower_waist", "pelvis"),
    *(f"{side}_{part}" for side in ("right", "left") for part in ("thigh", "shin", "foot")),
    *(f"{side}_{part}" for side in ("right", "left") for part in ("upper_arm", "lower_arm")),
)
_INERTIA = ("xx", "yy", "zz", "xy", "xz", "yz", "mass_x", "mass_y", "mass_z", "mass")
_TWIST = ("spin_x", "spin_y", "spin_z", "speed_x", "speed_y", "speed_z")

# Humanoid's and HumanoidStandup's
BODY_FIELDS = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "ten_length", "ten_velocity")
BODY_NAMES = (
    *(*FREE_JOINT[0], *_JOINTS),
    *(*FREE_JOINT[1], *(f"{joint}_dot" for joint in _JOINTS)),
    *(f"{body}_inertia_{part}" for body in _BODIES for part in _INERTIA),
    *(f"{body}_{part}" for body in _BODIES for part in _TWIST),
    *(f"{joint}_actuator" for joint in _JOINTS),
    *(f"{body}_{force}" for body in _BODIES for force in FORCES),
)
BODY_POSITIONS = ((0, 24), *((i, i + 23) for i in range(5, 22)))


def add_body_noise(qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
    """Sample near the model's own posture, in place."""
    add_uniform(qpos, 1e-2, generator)
    add_uniform(qvel, 1e-2, generator)


def observe_body(now: Fields) -> ArrayOrTensor:
    """Return positions without x and y, velocities, inertias, forces: (E, 348)."""
    qpos = now["qpos"][:, 2:]
    xp, rows = array_namespace(qpos), len(qpos)
    bodies = [now[name][:, 1:].reshape(rows, -1) for name in ("cinert", "cvel", "cfrc_ext")]
    inertia, twist, contact = bodies
    forces = now["qfrc_actuator"][:, 6:]
    return xp.concat((qpos, now["qvel"], inertia, twist, forces, contact), axis=1)


def body_costs(
    action: ArrayOrTensor, now: Fields, contact: float
) -> tuple[ArrayOrTensor, ArrayOrTensor]:
    """Return the costs (E,) of control, 0.1 for its squares, and of contact, at most 10.

    Args:
        action: (E, 17).
        now: with cfrc_ext.
        contact: for the squares of contact forces.
    """
    forces = now["cfrc_ext"]
    xp = array_namespace(forces)
    control = control_cost(xp.astype(action, forces.dtype), 0.1)
    return control, control_cost(forces.reshape(len(forces), -1), contact).clip(max=10.0)


def tendon_info(now: Fields) -> dict[str, ArrayOrTensor]:
    """Return the tendons' lengths and their rates, by gymnasium's names: (E, 2) each."""
    return {"tendon_length": now["ten_length"], "tendon_velocity": now["ten_velocity"]}


def fallen(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return where the torso's height is out of the healthy range: (B,) bool."""
    height = next_obs[:, 0]
    return (height <= 1.0) | (height >= 2.0)


@final
class Humanoid(MujocoTask):
    """Body of 17 joints; 348 observations, 17 torques.

    Its reward depends on the place of the center of mass, which is not observed, so a model has to
    learn it.
    """

    model_path = GYMNASIUM_ASSETS / "humanoid.xml"
    frame_skip = 5
    max_episode_steps = 1000
    camera = {
        "trackbodyid": 1,
        "distance": 4.0,
        "lookat": np.array([0.0, 0.0, 2.0]),
        "elevation": -20.0,
    }
    fields = ("xipos", *BODY_FIELDS)
    task = Task(terminated=fallen, obs_names=BODY_NAMES, positions=BODY_POSITIONS)

    def __init__(self):
        """Read the masses, whose center is to move; one factor for all of them leaves it there."""
        model = mujoco.MjModel.from_xml_path(str(self.model_path))
        self._masses, self._mass = tuple(model.body_mass.tolist()), model.body_mass.sum()

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near standing."""
        add_body_noise(qpos, qvel, generator)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions without x and y, velocities, inertias and forces."""
        return observe_body(now)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return forward speed and health, less the costs of control and contact."""
        healthy = self._healthy(now)
        control, contact = body_costs(action, now, 5e-7)
        speed = self._speed(before, now, dt)[:, 0]
        return 1.25 * speed + healthy * 5.0 - (control + contact), ~healthy

    def _healthy(self, now: Fields) -> ArrayOrTensor:
        """Return where it stands (E,)."""
        height = now["qpos"][:, 2]
        return (height > 1.0) & (height < 2.0)

    def _speed(self, before: Fields, now: Fields, dt: float) -> ArrayOrTensor:
        """Return the mean velocity of the center of mass in the plane: (E, 2)."""
        return (self._center(now) - self._center(before)) / dt

    def _center(self, now: Fields) -> ArrayOrTensor:
        """Return the center of mass in the plane (E, 2), as of the last substep."""
        places = now["xipos"]
        masses = constant(self._masses, places)
        # the order of einsum's sum is the one of gymnasium
        moment = array_namespace(places).einsum("b,ebj->ej", masses, places)
        return (moment / self._mass)[:, :2]

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return place and tendons, as gymnasium does."""
        return {**plane_info(now), **tendon_info(now)}

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, tendons, speed and the terms of the reward, as gymnasium does."""
        speed = self._speed(before, now, dt)
        control, contact = body_costs(action, now, 5e-7)
        return {
            **self.start_info(now),
            "x_velocity": speed[:, 0],
            "y_velocity": speed[:, 1],
            "reward_survive": self._healthy(now) * 5.0,
            "reward_forward": 1.25 * speed[:, 0],
            "reward_ctrl": -control,
            "reward_contact": -contact,
        }
