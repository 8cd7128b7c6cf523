"""Simulations of one MuJoCo model, stepped on MuJoCo's own threads (`mujoco.batch`).

The numbers are those of one MjData for each simulation, to the last bit and at any number of
threads: the solver's warm start is part of a state, and the fields that are read are those of the
last substep, as gymnasium reads them.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from typing import Any, final

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from mbrl.envs.mujoco_task import FORCES
from mbrl.envs.physical_parameters import BatchParameters, PhysicalParameters
from mbrl.envs.simulation import Array
from mbrl.errors import BadInput, EnvironmentFault

NumpyFields = dict[str, Array]  # MjData field -> (N, ...), always with qpos and qvel
Rows = NDArray[np.int32] | None  # ascending numbers of simulations; None for all of them
_COUNT = 1  # MuJoCo's warnings: (last number, count)


@final
class Physics:
    """N simulations of a MuJoCo model.

    Args:
        model: the model.
        fields: names of MjData arrays that are read beside qpos and qvel.
        parameters: physical parameters that may differ between the simulations.
        num_sims: N.
        num_threads: threads that step them; with one, the calling thread.
        keep_data: keep the MjData of each simulation, for pictures; a step takes somewhat longer.

    Attributes:
        state: (N, size) each mjSTATE_INTEGRATION, as it is now. What is written is used next.

    Raises:
        BadInput: if a field is unknown.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        fields: tuple[str, ...],
        parameters: PhysicalParameters,
        *,
        num_sims: int,
        num_threads: int,
        keep_data: bool = False,
    ):
        """Allocate the simulations, in the model's own posture."""
        self._arguments = model, fields, parameters, num_sims, num_threads, keep_data
        # gymnasium calls mj_rnePostConstraint after a step. It needs the contacts of the last
        # substep, so an MjData for each simulation
        known = mujoco.MjData(model)
        self._forces = tuple(name for name in fields if name in FORCES)
        self._keeps_data = keep_data
        persistent = keep_data or bool(self._forces)
        self._batch = Batch(model, num_sims, num_threads, persistent)
        self._scratch = known if self._forces else None
        self._control = self._batch.bind("ctrl")
        self._live: NumpyFields = {}
        for name in ("qpos", "qvel", *fields):
            if not isinstance(getattr(known, name, None), np.ndarray):
                raise BadInput(f"fields: {name} should be the name of an array of MjData")
            read = name not in self._forces
            shape = num_sims, *getattr(known, name).shape
            self._live[name] = self._batch.bind(name) if read else np.zeros(shape)
        self._parameters = BatchParameters(self._batch, parameters)
        self._batch.reset()
        self.state: Array = self._batch.state

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Return how a copy is made: with threads of its own, which goes on as this one does."""
        kept = self.state.copy(), self.parameters.copy(), self._batch.warning.copy()
        return _copied, (self._arguments, *kept)

    @property
    def parameters(self) -> Array:
        """Return the values of the physical parameters: (N, P)."""
        return self._parameters.values

    def read(self, rows: Rows = None) -> NumpyFields:
        """Return copies of qpos, qvel and the fields: (N, ...), or (len(rows), ...)."""
        if rows is None:
            return {name: live.copy() for name, live in self._live.items()}
        return {name: live[rows] for name, live in self._live.items()}

    def reset(self, rows: NDArray[np.int32], qpos: Array, qvel: Array, parameters: Array) -> None:
        """Start simulations anew.

        Args:
            rows: ascending numbers of the simulations.
            qpos: (len(rows), nq).
            qvel: (len(rows), nv).
            parameters: (len(rows), P).
        """
        self._parameters.set(rows, parameters)
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._live["qpos"][rows], self._live["qvel"][rows] = qpos, qvel
        self._run(self._batch.forward, rows)
        for name in self._forces:
            self._live[name][rows] = 0.0

    def step(self, control: np.ndarray, *, num_substeps: int, rows: Rows = None) -> None:
        """Step simulations with controls (N, nu), or (len(rows), nu).

        Raises:
            EnvironmentFault: if MuJoCo raises an error, naming the first simulation.
        """
        self._control[slice(None) if rows is None else rows] = control
        self._run(self._batch.step, rows, nstep=num_substeps)
        if self._scratch is not None:
            for i in range(len(self.state)) if rows is None else rows.tolist():
                self._batch.get_data(i, self._scratch)
                mujoco.mj_rnePostConstraint(self._batch.model, self._scratch)
                for name in self._forces:
                    self._live[name][i] = getattr(self._scratch, name)

    def _run(self, call: Any, rows: Rows, **options: Any) -> None:
        """Call a method of the batch; name a simulation in which MuJoCo raises an error."""
        try:
            call(rows, **options)
        except SimulationError as error:
            index = int(error.ids[0])
            what = f"MuJoCo raised an error: {self._batch.error(index)}"
            raise EnvironmentFault(what, index=index, step=0) from None

    def warnings(self, rows: Rows = None) -> NDArray[np.int32]:
        """Return how often MuJoCo gave each warning since the reset: (N or len(rows), 7)."""
        return self._batch.warning[slice(None) if rows is None else rows, :, _COUNT]

    def load(self, state: Array, parameters: Array) -> None:
        """Set the first B simulations, of which nothing is wrong yet.

        Args:
            state: (B, size).
            parameters: (B, P).
        """
        self._parameters.set(np.arange(len(state)), parameters)
        self.state[: len(state)] = state
        if self._keeps_data:  # what a picture shows; it would change the solver's warm start
            self._batch.forward()
            self.state[: len(state)] = state
        self._batch.warning[:] = 0

    def copy_data(self, index: int, data: mujoco.MjData) -> None:
        """Copy the MjData of a simulation, which must have been kept."""
        self._batch.get_data(index, data)


def _copied(
    arguments: tuple[Any, ...], state: Array, parameters: Array, warnings: NDArray[np.int32]
) -> Physics:
    """Return simulations in given states."""
    model, fields, ranges, num_sims, num_threads, keep_data = arguments
    options = {"num_sims": num_sims, "num_threads": num_threads, "keep_data": keep_data}
    physics = Physics(model, fields, ranges, **options)
    physics.load(state, parameters)
    physics._batch.warning[:] = warnings
    return physics
