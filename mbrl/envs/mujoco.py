"""MuJoCo in threads: one persistent MjData per environment, equations batched over all.

Each MjData is kept from step to step, since gymnasium's numbers depend on `qacc_warmstart` and on
lagged fields such as `xpos`: so results agree with gymnasium's to the last bit.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from functools import partial
from typing import final

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.envs.mujoco_rollout import SequenceSimulator, StateLayout
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, SimulatedSequences, SimulatedVecEnv, Simulation
from mbrl.envs.workers import DaemonPool, Hang
from mbrl.errors import EnvironmentFault
from mbrl.values import Count, NumThreads, Positive, checked


@final
class MujocoSimulation(Simulation):
    """E copies of a MuJoCo model.

    Args:
        task: the model and its equations.
        num_envs: E.
        num_threads: threads that step or simulate them; with one and no time limit, the calling
            thread.
        time_limit: seconds that a step of all environments may take; None for no limit.
    """

    @checked
    def __init__(
        self,
        task: MujocoTask,
        *,
        num_envs: Count = 1,
        num_threads: NumThreads = 1,
        time_limit: Positive | None = None,
    ):
        """Load the model and allocate its data."""
        self.model = mujoco.MjModel.from_xml_path(str(task.model_path))
        # MuJoCo would silently reset a simulation that has blown up: it must be reported
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self._task = task
        self._dt = self.model.opt.timestep * task.frame_skip
        self._data = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self._start_qpos, self._start_qvel = self._data[0].qpos.copy(), self._data[0].qvel.copy()
        self._names = ("qpos", "qvel", *task.fields)
        self._views = [tuple(getattr(d, name) for name in self._names) for d in self._data]
        self._controls = [d.ctrl for d in self._data]
        self._layout = StateLayout(self.model, task.fields)
        self._sequences: SequenceSimulator | None = None  # made when first used
        self._sequence_threads = num_threads
        self._now = self._empty(num_envs)

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
        bounds = self.model.actuator_ctrlrange.astype(np.float32)
        self.low, self.high = bounds[:, 0].copy(), bounds[:, 1].copy()
        self.obs_dim = task.observe(self._now).shape[1]

    def _empty(self, rows: int) -> Fields:
        """Allocate the fields of some environments."""
        shapes = [view.shape for view in self._views[0]]
        return {n: np.zeros((rows, *s)) for n, s in zip(self._names, shapes, strict=True)}

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Start new episodes; see Simulation.start."""
        for i, generator in zip(indices, generators, strict=True):
            data = self._data[i]
            mujoco.mj_resetData(self.model, data)
            qpos, qvel = self._start_qpos.copy(), self._start_qvel.copy()
            self._task.start(qpos, qvel, generator)
            data.qpos[:], data.qvel[:] = qpos, qvel
            mujoco.mj_forward(self.model, data)
            for name, view in zip(self._names, self._views[i], strict=True):
                self._now[name][i] = view
        return self._task.observe({name: field[indices] for name, field in self._now.items()})

    def advance(self, action: NDArray[np.float32]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Step every environment; see Simulation.advance."""
        before, self._now = self._now, self._empty(self.num_envs)
        outs = tuple(self._now.values())
        control = self._task.control(before, action)
        try:
            if self._pool is None:
                self._step_block(0, control, outs)
            else:
                jobs = [
                    partial(self._step_block, k, control, outs) for k in range(len(self._blocks))
                ]
                self._pool.run(jobs, self._time_limit)
        except Hang as hang:
            raise EnvironmentFault(
                f"no answer within {self._time_limit} s", index=self._at[hang.jobs[0]], step=0
            ) from None
        obs = self._task.observe(self._now)
        return obs, *self._task.outcome(before, action, self._now, self._dt)

    def _step_block(
        self, block: int, control: NDArray[np.float32], outs: tuple[Array, ...]
    ) -> None:
        """Step the environments of one thread and read their fields."""
        model, skip = self.model, self._task.frame_skip
        for i in self._blocks[block]:
            self._at[block] = i
            self._controls[i][:] = control[i]
            mujoco.mj_step(model, self._data[i], skip)
            for out, view in zip(outs, self._views[i], strict=True):
                out[i] = view

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


@checked
def threaded_mujoco(
    task: MujocoTask,
    *,
    num_envs: Count = 1,
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
