"""Any MJCF model as an environment: quadratic costs of what is named in it, without Python."""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import mujoco
import numpy as np
import torch
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco import control_bounds, load_model
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor, task_outcome
from mbrl.envs.tasks.common import constant, never
from mbrl.errors import BadInput
from mbrl.types import Task
from mbrl.values import Count, Finite, NonNegative, check_value, checked

_PERIOD = 0.02  # s, of a control step unless frame_skip is given
_PARTS = {  # of the joints of each kind: endings of their names in qpos and in qvel
    int(mujoco.mjtJoint.mjJNT_FREE): (
        ("_x", "_y", "_z", "_quat_w", "_quat_x", "_quat_y", "_quat_z"),
        ("_x_dot", "_y_dot", "_z_dot", "_spin_x", "_spin_y", "_spin_z"),
    ),
    int(mujoco.mjtJoint.mjJNT_BALL): (
        ("_quat_w", "_quat_x", "_quat_y", "_quat_z"),
        ("_spin_x", "_spin_y", "_spin_z"),
    ),
    int(mujoco.mjtJoint.mjJNT_SLIDE): (("",), ("_dot",)),
    int(mujoco.mjtJoint.mjJNT_HINGE): (("",), ("_dot",)),
}
_OBJECTS = {  # kind of a cost -> what its name is of
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "velocity": mujoco.mjtObj.mjOBJ_JOINT,
    "sensor": mujoco.mjtObj.mjOBJ_SENSOR,
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "upright": mujoco.mjtObj.mjOBJ_BODY,
}
_SINGLE = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
_ALL = "*"  # for a name: the velocities of all joints


class _Term(NamedTuple):
    """Weighted squared distance of a part of the observation from its target."""

    part: slice
    target: tuple[float, ...]
    weight: float


@final
class Mjcf(MujocoTask):
    """Model of an MJCF file whose named quantities are to come near their targets.

    The reward of a step is minus the weighted sum of the squared distances after it. Observations
    are qpos, qvel, all sensors, and for the costs of bodies their places and their upward axes.
    Sensors and bodies are those of the last simulation step's beginning. Nothing terminates.

    Args:
        path: of the MJCF file; MuJoCo reads the files that it names too.
        costs: terms, each `{KIND: NAME, target: NUMBERS, weight: NUMBER}`; targets are 0 and
            weights 1 unless given. Kinds:
            "joint": position of a hinge (rad) or slide joint (m).
            "velocity": of such a joint.
            "sensor": reading of a sensor.
            "body": place of a body in the world, m; three numbers.
            "upright": z axis of a body, whose target is up unless given.
        control_weight: of the squares of the controls, each scaled to [-1, 1].
        keyframe: name of the posture in which episodes start; None for the model's own.
        noise: added to it, uniform in [-noise, noise]: to hinge and slide joints, and velocities.
        frame_skip: simulation steps for which an action is held; None for about 0.02 s.
        max_episode_steps: actions of an episode.

    Raises:
        BadInput: if the model cannot be loaded, or has nothing of a name.
    """

    ends = False

    @checked
    def __init__(
        self,
        path: str | Path,
        costs: Sequence[Mapping[str, object]] = (),
        *,
        control_weight: NonNegative = 0.0,
        keyframe: str | None = None,
        noise: NonNegative = 0.01,
        frame_skip: Count | None = None,
        max_episode_steps: Count = 500,
    ):
        """Load the model and find what is named."""
        self.model_path, self.frame_skip = Path(path), frame_skip or 1
        self.max_episode_steps = max_episode_steps
        try:
            model = load_model(self)
            low, high = control_bounds(model, path)
        except BadInput as error:
            raise BadInput(str(error).replace("model_path", "path", 1)) from None
        if frame_skip is None:
            self.frame_skip = max(1, round(_PERIOD / model.opt.timestep))
        self.camera = _camera(model)
        self._qpos, self._qvel = _posture(model, keyframe)
        self._noise = noise
        self._single = [j for j in range(model.njnt) if model.jnt_type[j] in _SINGLE]
        limited = model.jnt_limited[self._single].astype(bool)[:, None]
        self._range = np.where(limited, model.jnt_range[self._single], [-math.inf, math.inf])
        self._places = model.jnt_qposadr[self._single]
        named = [_named(model, f"costs.{i}", cost) for i, cost in enumerate(costs)]
        if not named:
            raise BadInput(f"costs: should be at least one, such as {_example(model)}")
        self._bodies = [each for kind, each in dict.fromkeys(named) if kind == "body"]
        self._upright = [each for kind, each in dict.fromkeys(named) if kind == "upright"]
        wanted = {"sensordata": model.nsensordata, "xpos": self._bodies, "xmat": self._upright}
        self.fields = tuple(name for name in wanted if wanted[name])
        self._terms = [
            self._term(model, f"costs.{i}", cost, *name)
            for i, (cost, name) in enumerate(zip(costs, named, strict=True))
        ]
        self._middle, self._half = tuple((low + high) / 2), tuple((high - low) / 2)
        self._control_weight = control_weight
        self.task = Task(
            reward=self.reward,
            terminated=never,
            obs_names=self._names(model),
            positions=tuple(
                (int(model.jnt_qposadr[j]), int(model.nq + model.jnt_dofadr[j]))
                for j in self._single
            ),
        )

    def _term(
        self, model: mujoco.MjModel, key: str, cost: Mapping[str, object], kind: str, index: int
    ) -> _Term:
        """Return the term of a cost of a kind, whose object has a number.

        Raises:
            BadInput: if target or weight do not fit.
        """
        sensors = model.nq + model.nv
        bodies = sensors + model.nsensordata
        if kind == "joint":
            first, size = model.jnt_qposadr[index], 1
        elif kind == "velocity":
            first, size = model.nq, model.nv
            if index >= 0:
                first, size = first + model.jnt_dofadr[index], 1
        elif kind == "sensor":
            first, size = sensors + model.sensor_adr[index], model.sensor_dim[index]
        elif kind == "body":
            first, size = bodies + 3 * self._bodies.index(index), 3
        else:
            first, size = bodies + 3 * (len(self._bodies) + self._upright.index(index)), 3
        target: object = cost.get("target", (0.0, 0.0, 1.0) if kind == "upright" else None)
        if target is None:
            target = [0.0] * size
        numbers = target if isinstance(target, Sequence) else [target]
        check_value(f"{key}.target", list(numbers), list[Finite], {})
        if len(numbers) != size:
            raise BadInput(f"{key}.target: {len(numbers)} numbers, should be {size}")
        weight = cost.get("weight", 1.0)
        check_value(f"{key}.weight", weight, NonNegative, {})
        assert isinstance(weight, int | float)
        part = slice(int(first), int(first + size))
        return _Term(part, tuple(map(float, numbers)), float(weight))

    def _names(self, model: mujoco.MjModel) -> tuple[str, ...]:
        """Return the names of an observation's components."""
        qpos, qvel = [], []
        for j in range(model.njnt):
            name = model.joint(j).name or f"joint_{j}"
            places, speeds = _PARTS[int(model.jnt_type[j])]
            qpos += [f"{name}{end}" for end in places]
            qvel += [f"{name}{end}" for end in speeds]
        sensors = [
            f"{model.sensor(i).name or f'sensor_{i}'}_{k}"
            for i in range(model.nsensor)
            for k in range(model.sensor_dim[i])
        ]
        bodies = [f"{model.body(b).name}_at_{axis}" for b in self._bodies for axis in "xyz"]
        upright = [f"{model.body(b).name}_up_{axis}" for b in self._upright for axis in "xyz"]
        return (*qpos, *qvel, *sensors, *bodies, *upright)

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near the keyframe, inside the ranges of joints."""
        qpos[:], qvel[:] = self._qpos, self._qvel
        shift = generator.uniform(-self._noise, self._noise, len(self._places))
        qpos[self._places] = np.clip(qpos[self._places] + shift, *self._range.T)
        qvel += generator.uniform(-self._noise, self._noise, len(qvel))

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return qpos, qvel, sensors, and the places and upward axes of the costs' bodies."""
        qpos = now["qpos"]
        parts = [qpos, now["qvel"]]
        if "sensordata" in now:
            parts.append(now["sensordata"])
        parts += [now["xpos"][:, body] for body in self._bodies]
        if self._upright:
            axes = now["xmat"].reshape(len(qpos), -1, 9)
            parts += [axes[:, body, 2::3] for body in self._upright]
        return array_namespace(qpos).concat(parts, axis=1)

    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return minus the weighted squared distances and controls (B,)."""
        cost = next_obs.new_zeros(len(next_obs))
        for part, target, weight in self._terms:
            gap = next_obs[:, part] - torch.as_tensor(constant(target, next_obs))
            cost = cost + weight * gap.square().sum(1)
        if self._control_weight:
            middle, half = constant(self._middle, action), constant(self._half, action)
            scaled = torch.as_tensor((action - middle) / half)
            cost = cost + self._control_weight * scaled.square().sum(1)
        return -cost

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return the reward of the task and no termination."""
        obs = self.observe(now)
        return task_outcome(self.task, obs, action, obs)


def _posture(model: mujoco.MjModel, keyframe: str | None) -> tuple[Array, Array]:
    """Return qpos (nq,) and qvel (nv,) of a keyframe; None stands for the model's own posture.

    Raises:
        BadInput: if there is none of that name, it has activations, or numbers that MuJoCo takes
            for unstable.
    """
    if keyframe is None:
        return model.qpos0.copy(), np.zeros(model.nv)
    key = _find(model, "keyframe", keyframe, mujoco.mjtObj.mjOBJ_KEY)
    if model.key_act[key].any():
        raise BadInput(
            f"keyframe={keyframe}: has activations of actuators; episodes start without any"
        )
    posture = model.key_qpos[key].copy(), model.key_qvel[key].copy()
    for name, values in zip(("qpos", "qvel"), posture, strict=True):
        if not (np.abs(values) < mujoco.mjMAXVAL).all():
            raise BadInput(
                f"keyframe={keyframe}: its {name} is {values}; should be numbers below "
                f"{mujoco.mjMAXVAL:g}"
            )
    return posture


def _camera(model: mujoco.MjModel) -> dict[str, object]:
    """Return MuJoCo's own view of a model, which its file may set."""
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    view: dict[str, object] = {"lookat": camera.lookat.copy()}
    return view | {name: getattr(camera, name) for name in ("distance", "azimuth", "elevation")}


def _named(model: mujoco.MjModel, key: str, cost: Mapping[str, object]) -> tuple[str, int]:
    """Return the kind of a cost and the number of what it names; -1 for all.

    Raises:
        BadInput: if it is no cost, or nothing has that name.
    """
    kinds = [kind for kind in _OBJECTS if isinstance(cost, Mapping) and kind in cost]
    if len(kinds) != 1:
        known = ", ".join(_OBJECTS)
        raise BadInput(f"{key}: should have one of {known}, such as {_example(model)}")
    kind = kinds[0]
    for other in cost:
        if other not in (kind, "target", "weight"):
            raise BadInput(f"{key}.{other}: should be one of {kind}, target, weight")
    name = cost[kind]
    if kind == "velocity" and name == _ALL:
        return kind, -1
    index = _find(model, f"{key}.{kind}", name, _OBJECTS[kind])
    if kind in ("joint", "velocity") and model.jnt_type[index] not in _SINGLE:
        raise BadInput(
            f"{key}.{kind}={name}: is a ball or free joint; should be a hinge or slide joint, or "
            "name a body or a sensor"
        )
    return kind, index


def _find(model: mujoco.MjModel, key: str, name: object, kind: mujoco.mjtObj) -> int:
    """Return the number of an object of a model.

    Raises:
        BadInput: naming the nearest, if there is none of that name.
    """
    index = mujoco.mj_name2id(model, kind, name) if isinstance(name, str) else -1
    if index < 0:
        known = _known(model, kind)
        nearest = difflib.get_close_matches(str(name), known, n=1)
        right = f"did you mean {nearest[0]}?" if nearest else f"should be one of {_listed(known)}"
        raise BadInput(f"{key}={name}: {right}")
    return index


def _known(model: mujoco.MjModel, kind: mujoco.mjtObj) -> list[str]:
    """Return the names of a model's objects of a kind."""
    counts = {
        mujoco.mjtObj.mjOBJ_JOINT: model.njnt,
        mujoco.mjtObj.mjOBJ_SENSOR: model.nsensor,
        mujoco.mjtObj.mjOBJ_BODY: model.nbody,
        mujoco.mjtObj.mjOBJ_KEY: model.nkey,
    }
    named = [mujoco.mj_id2name(model, kind, i) for i in range(counts[kind])]
    return [name for name in named if name]


def _listed(names: list[str]) -> str:
    """Return the first names in words."""
    if not names:
        return "the model's, which names none"
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _example(model: mujoco.MjModel) -> str:
    """Return a cost of the model."""
    body = _known(model, mujoco.mjtObj.mjOBJ_BODY)[-1]
    return f"{{body: {body}, target: [0, 0, 1]}}"
