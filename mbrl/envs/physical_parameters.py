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


@final
class PhysicalParameters:
    """Ranges of physical parameters, of which each episode draws its own.

    Args:
        ranges: lowest and highest value of each parameter. It multiplies the model's own numbers:
            a field of MjModel such as geom_friction or dof_damping, body_mass (with the inertia),
            actuator_gain (gain and bias) or gravity. `delay` is no factor, but the seconds after
            which a control takes effect.

    Attributes:
        names: of the P parameters.
        nominal: (P,) their values in the model itself.

    Raises:
        BadInput: naming a parameter that there is not, or whose range is none.
    """

    def __init__(self, ranges: Mapping[str, Sequence[float]]):
        """Check the names and ranges."""
        self.names = tuple(ranges)
        for name, values in ranges.items():
            _check(name, values)
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
    fields = _FIELDS.get(name, (name,))
    if not all(field in MODEL_FIELDS and _holds_numbers(field) for field in fields):
        near = difflib.get_close_matches(name, [*_FIELDS, *sorted(MODEL_FIELDS)], n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; such as {', '.join(_FIELDS)}"
        raise BadInput(f"randomize: {name} should be a parameter of the model{hint}")
    pair: list[Any] = list(values) if isinstance(values, list | tuple) else []
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in pair)
    if len(pair) != 2 or not numbers or not 0 <= pair[0] <= pair[1]:
        unit = "seconds" if name == DELAY else "factors of the model's own numbers"
        raise BadInput(
            f"randomize: {name}={values} should be the lowest and the highest value, {unit} of at "
            "least 0, such as [0.8, 1.2]"
        )


def _holds_numbers(field: str) -> bool:
    """Return whether a field of a model holds real numbers, not counts or addresses."""
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    holder = model.opt if field.startswith("opt.") else model
    return np.asarray(getattr(holder, field.removeprefix("opt."))).dtype.kind == "f"


def add_delays(spec: mujoco.MjSpec, longest: float) -> None:
    """Make room in a model for controls that take effect after up to `longest` seconds.

    Raises:
        BadInput: if it has delays of its own.
    """
    for actuator in spec.actuators:
        if actuator.nsample or actuator.delay:
            raise BadInput(f"randomize: {DELAY}: the model has delays of its own; should have none")
        actuator.delay = longest
        actuator.nsample = math.ceil(longest / spec.option.timestep) + 2


@final
class BatchParameters:
    """Physical parameters of the simulations of a batch.

    Args:
        batch: of N simulations.
        parameters: their names.

    Attributes:
        values: (N, P) as they are now.
    """

    def __init__(self, batch: Batch, parameters: PhysicalParameters):
        """Find the fields that are written; all simulations are the model's own."""
        self._batch = batch
        self.values: Array = np.tile(parameters.nominal, (batch.nsim, 1))
        self._fields: list[tuple[int, NDArray[Any], NDArray[Any] | None]] = []
        for column, name in enumerate(parameters.names):
            for field in _FIELDS.get(name, (name,)):
                live = batch.expand(field)
                self._fields.append((column, live, None if name == DELAY else live[0].copy()))
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
