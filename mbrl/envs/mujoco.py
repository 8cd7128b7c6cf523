"""MuJoCo in threads: one persistent MjData per environment, equations batched over all.

Each MjData is kept from step to step, since gymnasium's numbers depend on `qacc_warmstart` and on
lagged fields such as `xpos`: so results agree with gymnasium's to the last bit.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, final

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.envs.guards import as_flags, as_numbers, as_pair, call_task
from mbrl.envs.mujoco_rollout import NumpyFields, SequenceSimulator, StateLayout
from mbrl.envs.mujoco_task import MujocoTask
from mbrl.envs.mujoco_warnings import describe_warnings
from mbrl.envs.simulation import (
    Action,
    Array,
    SimulatedSequences,
    SimulatedVecEnv,
    Simulation,
)
from mbrl.envs.workers import DaemonPool, Hang
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.values import Count, NumEnvs, NumThreads, Positive, check_value, checked


@final
class MujocoSimulation(Simulation):
    """E copies of a MuJoCo model.

    Args:
        task: the model and its equations.
        num_envs: E.
        num_threads: threads that step or simulate them; with one and no time limit, the calling
            thread.
        time_limit: seconds that a step of all environments may take; None for no limit.

    Raises:
        BadInput: if the model cannot be loaded, or an attribute of the task does not fit it.
    """

    @checked
    def __init__(
        self,
        task: MujocoTask,
        *,
        num_envs: NumEnvs = 1,
        num_threads: NumThreads = 1,
        time_limit: Positive | None = None,
    ):
        """Load the model and allocate its data."""
        self.model = load_model(task)
        # MuJoCo would silently reset a simulation that has blown up: it must be reported
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self._task = task
        self._dt = self.model.opt.timestep * task.frame_skip
        self._data = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self._start_qpos, self._start_qvel = self._data[0].qpos.copy(), self._data[0].qvel.copy()
        self._names = ("qpos", "qvel", *task.fields)
        self._bind()
        self._layout = StateLayout(self.model, task.fields)
        self._sequences: SequenceSimulator | None = None  # made when first used
        self._sequence_threads = num_threads
        self._now, self._before = self._empty(num_envs), self._empty(num_envs)
        self._action: Action = np.zeros((num_envs, self.model.nu), dtype=np.float32)
        self._counts = np.zeros((num_envs, len(self._data[0].warning.number)), dtype=np.int64)

        num_threads = min(num_threads, num_envs)
        self._blocks = [
            block.tolist() for block in np.array_split(np.arange(num_envs), num_threads)
        ]
        self._at = [0] * num_threads  # the environment each thread is on
        threaded = num_threads > 1 or time_limit is not None
        self._pool = DaemonPool(num_threads) if threaded else None
        self._time_limit = time_limit

        self.num_envs = num_envs
        self.task = task.task
        self.max_episode_steps = task.max_episode_steps
        self.low, self.high = control_bounds(self.model, task.model_path)
        mujoco.mj_forward(self.model, self._data[0])  # so that its fields are those of a posture
        first = {n: view[None] for n, view in zip(self._names, self._views[0], strict=True)}
        obs = as_numbers("the observation", call_task("observe", task.observe, first), (1, None))
        self.obs_dim = obs.shape[1]
        if not self.obs_dim:
            raise BadInput("observe: returned observations of no number; should be at least one")

    def _bind(self) -> None:
        """Find the arrays of each MjData that are read or written in a step."""
        self._views = [tuple(getattr(d, name) for name in self._names) for d in self._data]
        self._controls = [d.ctrl for d in self._data]
        # MuJoCo's counters of what it found wrong: they are read as the fields are
        self._read = [
            (*views, d.warning.number) for views, d in zip(self._views, self._data, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: not the arrays, which belong to the MjData of this one."""
        own = ("_views", "_controls", "_read", "_sequences")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy, which goes on as the other does."""
        vars(self).update(state)
        self._sequences = None
        self._bind()

    def _empty(self, rows: int) -> NumpyFields:
        """Allocate the fields of some environments."""
        shapes = [view.shape for view in self._views[0]]
        return {n: np.zeros((rows, *s)) for n, s in zip(self._names, shapes, strict=True)}

    @property
    def equations(self) -> MujocoTask:
        """Return what makes the model an environment."""
        return self._task

    @property
    def dt(self) -> float:
        """Return the seconds of a step."""
        return self._dt

    @property
    def data(self) -> list[mujoco.MjData]:
        """Return the simulation of each environment."""
        return self._data

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Start new episodes; see Simulation.start."""
        for i, generator in zip(indices, generators, strict=True):
            data = self._data[i]
            mujoco.mj_resetData(self.model, data)
            qpos, qvel = self._start_qpos.copy(), self._start_qvel.copy()
            returned = call_task("start", self._task.start, qpos, qvel, generator, indices=[i])
            if returned is not None:
                what = "start() returned a value: it should write into qpos and qvel instead"
                raise EnvironmentFault(what, index=i, step=0)
            data.qpos[:], data.qvel[:] = qpos, qvel
            mujoco.mj_forward(self.model, data)
            for name, view in zip(self._names, self._views[i], strict=True):
                self._now[name][i] = view
        return self._observe({name: field[indices] for name, field in self._now.items()}, indices)

    def _observe(self, now: NumpyFields, indices: list[int] | None = None) -> Array:
        """Return observations (B, obs_dim) of fields (B, ...)."""
        obs = call_task("observe", self._task.observe, now, indices=indices)
        return as_numbers("the observation", obs, (len(now["qpos"]), self.obs_dim))

    def advance(
        self, action: Action, active: NDArray[np.bool_] | None = None
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Step environments; see Simulation.advance."""
        before, self._now = self._now, self._empty(self.num_envs)
        self._before, self._action = before, action
        outs = (*self._now.values(), self._counts)
        control = action
        if self._task.steers:
            control = call_task("control", self._task.control, before, action)
            control = as_numbers("what control() returned", control, action.shape)
        try:
            if self._pool is None:
                self._step_block(0, control, outs, active)
            else:
                jobs = [
                    partial(self._step_block, k, control, outs, active)
                    for k in range(len(self._blocks))
                ]
                self._pool.run(jobs, self._time_limit)
        except Hang as hang:
            raise EnvironmentFault(
                f"no answer within {self._time_limit} s", index=self._at[hang.jobs[0]], step=0
            ) from None
        self._check_warnings(active)
        obs = self._observe(self._now)
        arguments = (before, action, self._now, self._dt)
        outcome = call_task("outcome", self._task.outcome, *arguments)
        reward, terminated = as_pair("outcome", outcome)
        rows = (self.num_envs,)
        return (
            obs,
            as_numbers("the reward", reward, rows),
            as_flags("terminated", terminated, rows),
        )

    def _step_block(
        self,
        block: int,
        control: Action,
        outs: tuple[np.ndarray, ...],
        active: NDArray[np.bool_] | None,
    ) -> None:
        """Step the environments of one thread and read their fields."""
        model, skip = self.model, self._task.frame_skip
        forces = self._task.needs_forces
        for i in self._blocks[block]:
            self._at[block] = i
            if active is None or active[i]:
                self._controls[i][:] = control[i]
                mujoco.mj_step(model, self._data[i], skip)
                if forces:
                    mujoco.mj_rnePostConstraint(model, self._data[i])
            for out, view in zip(outs, self._read[i], strict=True):
                out[i] = view

    def _check_warnings(self, active: NDArray[np.bool_] | None) -> None:
        """Raise an EnvironmentFault where MuJoCo has found something wrong."""
        if not self._counts.any():
            return
        for i, counts in enumerate(self._counts):
            what = describe_warnings(counts)
            if what is not None and (active is None or active[i]):
                raise EnvironmentFault(f"MuJoCo found {what}", index=i, step=0)

    def start_info(self) -> dict[str, np.ndarray]:
        """Return gymnasium's `info` of a reset; see Simulation.start_info."""
        return call_task("start_info", self._task.start_info, self._now)

    def step_info(self) -> dict[str, np.ndarray]:
        """Return gymnasium's `info` of the latest step; see Simulation.step_info."""
        arguments = (self._before, self._action, self._now, self._dt)
        return call_task("step_info", self._task.step_info, *arguments)

    def get_state(self) -> Array:
        """Return each mjSTATE_INTEGRATION, qacc_warmstart included, and the lagged fields."""
        state = np.empty((self.num_envs, self._layout.size))
        for row, data in zip(state, self._data, strict=True):
            mujoco.mj_getState(self.model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
        return self._layout.pack(state, self._now)

    def set_state(self, state: Array) -> None:
        """Restore a state of get_state; nothing is recomputed, so stepping goes on exactly."""
        self._now = self._layout.fields(state)
        for row, data in zip(state[:, : self._layout.size], self._data, strict=True):
            mujoco.mj_setState(self.model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)

    def simulate(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> SimulatedSequences:
        """Simulate action sequences from given states; see Simulation.simulate."""
        if self._sequences is None:
            self._sequences = SequenceSimulator(self.model, self._task, self._sequence_threads)
        return self._sequences.simulate(state, action, with_state=with_state)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.close()
        if self._sequences is not None:
            self._sequences.close()


def load_model(task: MujocoTask) -> mujoco.MjModel:
    """Load the model of a task.

    Raises:
        BadInput: if it cannot be loaded, or an attribute of the task is out of range.
    """
    for name in ("frame_skip", "max_episode_steps"):
        check_value(name, getattr(task, name), Count, {})
    if not isinstance(task.model_path, str | Path) or "<" in str(task.model_path):
        kind = "MJCF itself" if isinstance(task.model_path, str) else type(task.model_path).__name__
        raise BadInput(f"model_path: a {kind} should be the path of an MJCF file")
    try:
        model = mujoco.MjModel.from_xml_path(str(task.model_path))
    except (ValueError, OSError, mujoco.FatalError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"model_path={task.model_path}: MuJoCo cannot load it: {reason}") from None
    if not model.opt.timestep > 0:
        raise BadInput(
            f"model_path={task.model_path}: its timestep is {model.opt.timestep:g} s; should be "
            "above 0"
        )
    known = mujoco.MjData(model)
    for name in task.fields:
        if not isinstance(getattr(known, name, None), np.ndarray):
            raise BadInput(f"fields: {name} should be the name of an array of MjData")
    return model


def control_bounds(
    model: mujoco.MjModel, path: object
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the smallest and the largest controls (nu,) of a model.

    Args:
        model: the model.
        path: of its file, for the message.

    Raises:
        BadInput: naming an actuator whose controls have no bounds.
    """
    if model.nu == 0:
        raise BadInput(f"model_path={path}: has no actuator, so there is nothing to control")
    with np.errstate(over="ignore"):  # named below
        bounds = model.actuator_ctrlrange.astype(np.float32)
    # MuJoCo reads no ctrlrange as [0, 0]
    right = np.isfinite(bounds).all(axis=1) & (bounds[:, 0] < bounds[:, 1])
    if not right.all():
        index = int(np.flatnonzero(~right)[0])
        name = model.actuator(index).name or f"number {index}"
        low, high = model.actuator_ctrlrange[index]
        raise BadInput(
            f"model_path={path}: actuator {name} has the control range [{low:g}, {high:g}]"
            f"{', as without a ctrlrange' if low == high == 0 else ''}; should be finite and not "
            'empty in float32, such as ctrlrange="-1 1"'
        )
    return bounds[:, 0].copy(), bounds[:, 1].copy()


@checked
def threaded_mujoco(
    task: MujocoTask,
    *,
    num_envs: NumEnvs = 1,
    seed: int = 0,
    num_threads: NumThreads = 1,
    time_limit: Positive | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of a MuJoCo task.

    Args:
        task: the model and its equations.
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        num_threads: threads that step or simulate them.
        time_limit: seconds that a step of all environments may take; null for no limit.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    simulation = MujocoSimulation(
        task, num_envs=num_envs, num_threads=num_threads, time_limit=time_limit
    )
    return SimulatedVecEnv(simulation, seed=seed, dtype=dtype, device=device)
