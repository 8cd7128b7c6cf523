"""Physical parameters of a MuJoCo model that differ from episode to episode.

Peng et al., Sim-to-Real Transfer of Robotic Control with Dynamics Randomization, ICRA 2018.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import mujoco
import numpy as np
from mujoco.batch import MODEL_FIELDS, Batch
from numpy.typing import NDArray

from mbrl.envs.simulation import Array
from mbrl.errors import BadInput

DELAY = "delay"
# names that stand for several fields, or for one by a simpler name
_FIELDS = {
    "body_mass": ("body_mass", "body_inertia"),  # as if of another density
    "actuator_gain": ("actuator_gainprm", "actuator_biasprm"),
    "gravity": ("opt.gravity",),
    DELAY: ("actuator_delay",),
}
# what MuJoCo's compiler derives nothing from but what mj_setConst computes again: not so a size or
# a place. A timestep or a color is no physical parameter
_OBJECTS = ("actuator", "body", "dof", "eq", "flex", "geom", "jnt", "pair", "tendon")
_QUANTITIES = (
    *("mass", "inertia", "gravcomp", "armature", "damping", "dampingpoly", "stiffness"),
    *("stiffnesspoly", "bending", "edgedamping", "edgestiffness", "friction", "frictionloss"),
    *("gainprm", "biasprm", "dynprm", "gear", "forcerange", "actfrcrange", "range"),
    *("solref", "solimp", "solreffriction", "solref_lim", "solimp_lim", "solref_fri"),
    "solimp_fri",
)
_OPTIONS = ("opt.gravity", "opt.wind", "opt.magnetic", "opt.density", "opt.viscosity")
_SCALED = {f"{thing}_{quantity}" for thing in _OBJECTS for quantity in _QUANTITIES}
NAMES = (*_FIELDS, *sorted(MODEL_FIELDS & _SCALED.union(_OPTIONS) - _FIELDS.keys()))
_ABOVE_0 = ("body_mass", "body_inertia")
_MOST_SAMPLES = 2**24  # that MuJoCo keeps of an actuator


@final
class PhysicalParameters:
    """Ranges of physical parameters, of which each episode draws its own.

    Args:
        ranges: lowest and highest value of each parameter. It multiplies the model's own numbers,
            those of all bodies (joints, geoms, ...) by the same factor:
            "body_mass": masses, and inertias with them.
            "actuator_gain": gain and bias.
            "gravity": the same as opt.gravity.
            "delay": no factor, but the seconds after which a control takes effect.
            Others are fields of MjModel that hold a mass, damping, stiffness, friction, range,
            gear, parameter of an actuator or of the solver, such as geom_friction, and opt.wind,
            opt.magnetic, opt.density, opt.viscosity.

    Attributes:
        names: of the P parameters.
        nominal: (P,) their values in the model itself.

    Raises:
        BadInput: naming a parameter that there is not, that another one holds too, or whose range
            is none.
    """

    def __init__(self, ranges: Mapping[str, Sequence[float]]):
        """Check the names and ranges."""
        self.names = tuple(ranges)
        for name, values in ranges.items():
            _check(name, values)
        _check_apart(self.names)
        self._low, self._high = np.array(
            [[float(values[0]), float(values[1])] for values in ranges.values()]
        ).T.reshape(2, -1)
        self.nominal: Array = np.array([0.0 if name == DELAY else 1.0 for name in self.names])
        self.longest_delay = float(ranges[DELAY][1]) if DELAY in ranges else 0.0

    def draw(self, generator: np.random.Generator) -> Array:
        """Draw values (P,)."""
        return generator.uniform(self._low, self._high)

    def at(self, share: Array) -> Array:
        """Return values (..., P) at shares (..., P) of the ranges, from 0 to 1."""
        return self._low + share * (self._high - self._low)


def _check(name: str, values: Any) -> None:
    """Raise BadInput if a parameter or its range is none."""
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; such as {', '.join(_FIELDS)}"
        raise BadInput(f"randomize: {name} should be a parameter of the model's physics{hint}")
    pair: list[Any] = list(values) if isinstance(values, list | tuple) else []
    numbers = all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in pair
    )
    above = name in _ABOVE_0
    if len(pair) != 2 or not numbers or not 0 <= pair[0] <= pair[1] or (above and not pair[0]):
        unit = "seconds" if name == DELAY else "factors of the model's own numbers"
        least = "above 0" if above else "of at least 0"
        raise BadInput(
            f"randomize: {name}={values} should be the lowest and the highest value, {unit} "
            f"{least}, such as {[0, 0.02] if name == DELAY else [0.8, 1.2]}"
        )


def _check_apart(names: Sequence[str]) -> None:
    """Raise BadInput if two parameters are of the same field, of which one would be lost."""
    owner: dict[str, str] = {}
    for name in names:
        for field in _FIELDS.get(name, (name,)):
            if field in owner:
                raise BadInput(
                    f"randomize: {name} and {owner[field]} both change {field}; should be one of "
                    "them"
                )
            owner[field] = name


def _check_factor(name: str, largest: float, own: list[NDArray[Any]]) -> None:
    """Raise BadInput if a factor changes none of a model's own numbers, or makes one infinite."""
    if not any(field.any() for field in own):
        raise BadInput(
            f"randomize: {name}: should be a parameter that the model has; all its {name} are 0, "
            "which no factor changes"
        )
    with np.errstate(over="ignore"):
        if not all(np.isfinite(largest * field).all() for field in own):
            raise BadInput(f"randomize: {name}: {largest:g} times the model's own is not finite")


def add_delays(spec: mujoco.MjSpec, longest: float) -> None:
    """Make room in a model for controls that take effect after up to `longest` seconds.

    Raises:
        BadInput: if it has delays of its own, or the delay is too long.
    """
    samples = longest / spec.option.timestep + 2
    if samples > _MOST_SAMPLES:
        raise BadInput(
            f"randomize: {DELAY}: {longest:g} s are {samples:g} timesteps of the model; should be "
            f"fewer than {_MOST_SAMPLES}"
        )
    for actuator in spec.actuators:
        if actuator.nsample or actuator.delay:
            raise BadInput(f"randomize: {DELAY}: the model has delays of its own; should have none")
        actuator.delay = longest
        actuator.nsample = math.ceil(samples)


@final
class BatchParameters:
    """Physical parameters of the simulations of a batch.

    Args:
        batch: of N simulations.
        parameters: their names.

    Attributes:
        values: (N, P) as they are now.

    Raises:
        BadInput: naming a parameter of which the model has none to multiply, or that becomes
            infinite.
    """

    def __init__(self, batch: Batch, parameters: PhysicalParameters):
        """Find the fields that are written; all simulations are the model's own."""
        self._batch = batch
        self.values: Array = np.tile(parameters.nominal, (batch.nsim, 1))
        self._fields: list[tuple[int, NDArray[Any], NDArray[Any] | None]] = []
        largest = parameters.at(np.ones(len(parameters.names)))
        for column, name in enumerate(parameters.names):
            fields = [batch.expand(field) for field in _FIELDS.get(name, (name,))]
            for live in fields:
                self._fields.append((column, live, None if name == DELAY else live[0].copy()))
            if name != DELAY:
                _check_factor(name, float(largest[column]), [live[0] for live in fields])
        self._write(np.arange(batch.nsim))

    def set(self, rows: NDArray[np.integer], values: Array) -> None:
        """Set the values (len(rows), P) of some simulations."""
        changed = (self.values[rows] != values).any(axis=1)
        rows = rows[changed]
        if len(rows):
            self.values[rows] = values[changed]
            self._write(rows)

    def _write(self, rows: NDArray[np.integer]) -> None:
        """Write the fields of some simulations, and what MuJoCo derives from them."""
        for column, live, base in self._fields:
            value = self.values[rows, column].reshape(-1, *[1] * (live.ndim - 1))
            live[rows] = value if base is None else value * base
        if self._fields:
            self._batch.set_const(rows.astype(np.int32))
