"""Batched open-loop rollouts of MuJoCo tasks from given simulator states.

A task that reads only qpos and qvel is simulated by one call of `mujoco.rollout`. Other tasks are
stepped row by row, on MjData of their own, because that call does not offer:
- controls that depend on the state;
- other MjData fields: with RK4, gymnasium reads the `xpos` of the last of four stages, which is
  neither a sensor nor the kinematics of qpos;
- an early end: most random action sequences of a hopper fall soon, and the steps after the fall
  are wasted. The call cannot be split either, since it does not return `qacc_warmstart`.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import math
from functools import partial
from typing import Any, final

import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import NDArray

from mbrl.envs.mujoco_task import MujocoTask
from mbrl.envs.simulation import Array, SimulatedSequences
from mbrl.envs.workers import DaemonPool

State = mujoco.mjtState
INTEGRATION = State.mjSTATE_INTEGRATION
NumpyFields = dict[str, Array]  # MjData field -> (E, ...)
PIECE = 4  # steps after which rows that have ended are left out


@final
class StateLayout:
    """Layout of a state of E simulations: mjSTATE_INTEGRATION, then the task's lagged fields.

    Args:
        model: the MuJoCo model.
        fields: MjData fields beside qpos and qvel, which no MuJoCo state holds.
    """

    def __init__(self, model: mujoco.MjModel, fields: tuple[str, ...]):
        """Find the columns of each part."""
        data = mujoco.MjData(model)
        self._model = model
        self.size = mujoco.mj_stateSize(model, INTEGRATION)  # of the first part
        self._lagged = {name: getattr(data, name).shape for name in fields}
        self._qpos, self._qvel = self.columns(State.mjSTATE_QPOS), self.columns(State.mjSTATE_QVEL)

    def columns(self, part: int) -> NDArray[np.int64]:
        """Return the columns that hold another mjtState."""
        columns = np.empty(mujoco.mj_stateSize(self._model, part))
        numbered = np.arange(self.size, dtype=np.float64)
        mujoco.mj_extractState(self._model, numbered, INTEGRATION, columns, part)
        return columns.astype(np.int64)

    def pack(self, integration: Array, fields: NumpyFields) -> Array:
        """Join mjSTATE_INTEGRATION (E, size) and fields (E, ...)."""
        lagged = [fields[name].reshape(len(integration), -1) for name in self._lagged]
        return np.concatenate((integration, *lagged), axis=1)

    def fields(self, state: Array) -> NumpyFields:
        """Read qpos, qvel and the lagged fields (E, ...) of a state."""
        fields = {"qpos": state[:, self._qpos], "qvel": state[:, self._qvel]}
        start = self.size
        for name, shape in self._lagged.items():
            width = math.prod(shape)
            fields[name] = state[:, start : start + width].reshape(-1, *shape).copy()
            start += width
        return fields


@final
class SequenceSimulator:
    """Simulator of whole action sequences of a MuJoCo task, apart from its environments.

    Args:
        model: of the task, as the environments step it.
        task: its equations.
        num_threads: threads that share the sequences; with one, the calling thread.
    """

    def __init__(self, model: mujoco.MjModel, task: MujocoTask, num_threads: int = 1):
        """Allocate data for each thread."""
        self._model, self._task = model, task
        self._dt = model.opt.timestep * task.frame_skip
        self.layout = layout = StateLayout(model, task.fields)
        self._physics = layout.columns(State.mjSTATE_FULLPHYSICS)
        self._warmstart = layout.columns(State.mjSTATE_WARMSTART)
        self._user = layout.columns(int(State.mjSTATE_USER) & ~int(State.mjSTATE_CTRL))
        self._data = [mujoco.MjData(model) for _ in range(num_threads)]
        self._names = ("qpos", "qvel", *task.fields)
        self._views = [tuple(getattr(d, name) for name in self._names) for d in self._data]
        untouched = np.empty(layout.size)
        mujoco.mj_getState(model, self._data[0], untouched, INTEGRATION)
        self._no_user = untouched[self._user]
        self._threads = mujoco.rollout.Rollout(nthread=num_threads if num_threads > 1 else 0)
        self._pool = DaemonPool(num_threads) if num_threads > 1 else None

    def simulate(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool
    ) -> SimulatedSequences:
        """Simulate action (B, H, nu) from states (B, state_dim); see Simulation.simulate."""
        if self._task.ends and not with_state:
            return self._simulate_alive(state, action)
        return self._simulate_whole(state, action, with_state=with_state)

    def _simulate_alive(self, state: Array, action: NDArray[np.float32]) -> SimulatedSequences:
        """Simulate piece by piece the rows that have neither terminated nor blown up."""
        shape, obs_dim = action.shape[:2], self._task.observe(self.layout.fields(state)).shape[1]
        flags = np.ones(shape, dtype=bool)
        obs, reward = np.zeros((*shape, obs_dim)), np.zeros(shape)
        terminated, valid = flags, flags.copy()
        alive = np.arange(len(action))
        for first in range(0, shape[1], PIECE):
            now, later = slice(first, first + PIECE), slice(first + PIECE, None)
            piece = self._simulate_whole(state, action[alive, now], with_state=True)
            ended = np.logical_or.reduce(piece.terminated, axis=1)
            over = ended | ~piece.valid[:, -1]
            obs[alive, now], obs[alive[over], later] = piece.obs, piece.obs[over, -1:]
            reward[alive, now] = piece.reward
            terminated[alive, now] = piece.terminated
            terminated[alive[over], later] = ended[over][:, None]
            valid[alive, now], valid[alive[over], later] = piece.valid, piece.valid[over, -1:]
            assert piece.state is not None
            alive, state = alive[~over], piece.state[~over]
            if len(alive) == 0:
                break
        return SimulatedSequences(obs, reward, terminated, valid, None)

    def _simulate_whole(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool
    ) -> SimulatedSequences:
        """Simulate every step of every row."""
        rows, horizon = action.shape[:2]
        last = np.empty((rows, self.layout.size)) if with_state else None
        # rollout() takes no forces, mocap poses or equalities from the state: where there are any,
        # or fields are needed, rows are stepped one by one
        bare = not (self._task.fields or self._task.steers)
        bare = bare and (state[:, self._user] == self._no_user).all()
        if bare and last is None:
            now, advanced = self._roll(state, action)
        else:
            now, advanced = self._step_rows(state, action, last), True
        before = {
            name: np.concatenate((first[:, None], now[name][:, :-1]), axis=1)
            for name, first in self.layout.fields(state).items()
        }
        flat = _flatten(now)
        with np.errstate(all="ignore"):  # of what has blown up; it is marked
            bounded = [np.abs(now[name]) < mujoco.mjMAXVAL for name in ("qpos", "qvel")]
            obs = np.asarray(self._task.observe(flat)).reshape(rows, horizon, -1)
            actions = action.reshape(rows * horizon, -1)
            outcome = self._task.outcome(_flatten(before), actions, flat, self._dt)
        reward, terminated = (np.asarray(part).reshape(rows, horizon) for part in outcome)
        valid = bounded[0].all(-1) & bounded[1].all(-1) & advanced
        valid &= np.isfinite(obs).all(-1) & np.isfinite(reward)
        valid = np.logical_and.accumulate(valid, axis=1)
        if last is not None:
            last = self.layout.pack(last, {name: field[:, -1] for name, field in now.items()})
        return SimulatedSequences(obs, reward, terminated, valid, last)

    def _roll(
        self, state: Array, action: NDArray[np.float32]
    ) -> tuple[NumpyFields, NDArray[np.bool_]]:
        """Simulate in one call; MuJoCo has abandoned the rows whose time does not advance."""
        skip = self._task.frame_skip
        path: Any = self._threads.rollout(
            self._model,
            self._data,
            state[:, self._physics],
            np.repeat(action.astype(np.float64), skip, axis=1),
            initial_warmstart=state[:, self._warmstart],
        )[0]
        path = path[:, skip - 1 :: skip]
        time = np.concatenate((state[:, self._physics[:1]], path[:, :, 0]), axis=1)
        nq, nv = self._model.nq, self._model.nv  # mjSTATE_FULLPHYSICS is time, qpos, qvel ...
        now = {"qpos": path[:, :, 1 : 1 + nq], "qvel": path[:, :, 1 + nq : 1 + nq + nv]}
        return now, np.diff(time, axis=1) > 0

    def _step_rows(
        self, state: Array, action: NDArray[np.float32], last: Array | None
    ) -> NumpyFields:
        """Simulate row by row and read every field; last (B, size) is filled in."""
        shape = action.shape[:2]
        views = zip(self._names, self._views[0], strict=True)
        now = {name: np.empty((*shape, *view.shape)) for name, view in views}
        blocks = np.array_split(np.arange(shape[0]), len(self._data))
        jobs = [
            partial(self._step_block, thread, block.tolist(), state, action, now, last)
            for thread, block in enumerate(blocks)
        ]
        if self._pool is None:
            jobs[0]()
        else:
            self._pool.run(jobs)
        return now

    def _step_block(
        self,
        thread: int,
        rows: list[int],
        state: Array,
        action: NDArray[np.float32],
        now: NumpyFields,
        last: Array | None,
    ) -> None:
        """Simulate the rows of one thread."""
        model, data, skip = self._model, self._data[thread], self._task.frame_skip
        steers, forces = self._task.steers, self._task.needs_forces
        control, views, outs = data.ctrl, self._views[thread], tuple(now.values())
        current = {name: view[None] for name, view in zip(self._names, views, strict=True)}
        for row in rows:
            mujoco.mj_setState(model, data, state[row, : self.layout.size], INTEGRATION)
            for t, u in enumerate(action[row]):
                control[:] = self._task.control(current, u[None])[0] if steers else u
                mujoco.mj_step(model, data, skip)
                if forces:
                    mujoco.mj_rnePostConstraint(model, data)
                for out, view in zip(outs, views, strict=True):
                    out[row, t] = view
            if last is not None:
                mujoco.mj_getState(model, data, last[row], INTEGRATION)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.close()
        if self._pool is not None:
            self._pool.close()


def _flatten(fields: NumpyFields) -> NumpyFields:
    """Reshape fields (B, H, ...) into one batch (B * H, ...)."""
    return {name: field.reshape(-1, *field.shape[2:]) for name, field in fields.items()}
