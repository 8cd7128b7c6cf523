"""MuJoCo in threads: the simulations of one model, and a task's equations batched over all."""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import math
from pathlib import Path
from typing import Any, final

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.envs.guards import as_flags, as_numbers, as_pair, call_task
from mbrl.envs.mujoco_batch import NumpyFields, Physics
from mbrl.envs.mujoco_task import MujocoTask
from mbrl.envs.mujoco_warnings import blown_up, describe_warnings
from mbrl.envs.physical_parameters import PhysicalParameters, add_delays
from mbrl.envs.simulation import (
    Action,
    Array,
    SimulatedSequences,
    SimulatedVecEnv,
    Simulation,
)
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.memory import is_too_large
from mbrl.values import Count, NonNegative, NumEnvs, NumThreads, check_value, checked


@final
class MujocoSimulation(Simulation):
    """E copies of a MuJoCo model.

    Args:
        task: the model and its equations.
        num_envs: E.
        num_threads: threads that step or simulate them; with one, the calling thread.
        randomize: ranges of physical parameters, which each episode draws anew from the
            environment's own generator; see PhysicalParameters.

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
        randomize: dict[str, list[NonNegative]] | None = None,
    ):
        """Load the model and allocate its simulations."""
        self._parameters = PhysicalParameters(randomize or {})
        self.nominal_parameters = self._parameters.nominal
        self.model = load_model(task, longest_delay=self._parameters.longest_delay)
        # MuJoCo would silently reset a simulation that has blown up: it must be reported
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self._task = task
        self._dt = self.model.opt.timestep * task.frame_skip
        self._num_threads = num_threads
        try:
            self.physics = self._simulations(num_envs)
        except ValueError as error:
            if isinstance(error, BadInput) or not is_too_large(error):
                raise
            raise BadInput(f"num_envs={num_envs}: needs more memory than there is here") from error
        self._sequences: Physics | None = None  # of simulate(), made when first used
        posture = mujoco.MjData(self.model)
        self._start_qpos, self._start_qvel = posture.qpos.copy(), posture.qvel.copy()
        self._now = self._before = self.physics.read()
        self._action: Action = np.zeros((num_envs, self.model.nu), dtype=np.float32)

        self.num_envs = num_envs
        self.task = task.task
        self.max_episode_steps = task.max_episode_steps
        self.low, self.high = control_bounds(self.model, task.model_path)
        first = {name: field[:1] for name, field in self._now.items()}
        obs = as_numbers("the observation", call_task("observe", task.observe, first), (1, None))
        self.obs_dim = obs.shape[1]
        if not self.obs_dim:
            raise BadInput("observe: returned observations of no number; should be at least one")

    def _simulations(self, num_sims: int, keep_data: bool = False) -> Physics:
        """Return simulations of the model with the fields that the task reads."""
        options: Any = {"num_sims": num_sims, "num_threads": min(self._num_threads, num_sims)}
        return Physics(
            self.model, self._task.fields, self._parameters, keep_data=keep_data, **options
        )

    def keep_data(self) -> None:
        """Allocate an MjData for each environment, so that pictures are those of gymnasium."""
        state = self.get_state()
        self.physics = self._simulations(self.num_envs, keep_data=True)
        self.set_state(state)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs."""
        return {**vars(self), "_sequences": None}

    @property
    def equations(self) -> MujocoTask:
        """Return what makes the model an environment."""
        return self._task

    @property
    def dt(self) -> float:
        """Return the seconds of a step."""
        return self._dt

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Start new episodes; see Simulation.start."""
        qpos = np.tile(self._start_qpos, (len(indices), 1))
        qvel = np.tile(self._start_qvel, (len(indices), 1))
        parameters = np.empty((len(indices), len(self.nominal_parameters)))
        for row, (i, generator) in enumerate(zip(indices, generators, strict=True)):
            if parameters.size:
                parameters[row] = self._parameters.draw(generator)
            arguments = qpos[row], qvel[row], generator
            returned = call_task("start", self._task.start, *arguments, indices=[i])
            if returned is not None:
                what = "start() returned a value: it should write into qpos and qvel instead"
                raise EnvironmentFault(what, index=i, step=0)
        rows = np.array(indices, dtype=np.int32)
        self.physics.reset(rows, qpos, qvel, parameters)
        first = self.physics.read(rows)
        for name, field in first.items():
            self._now[name][rows] = field
        return self._observe(first, indices)

    def _observe(self, now: NumpyFields, indices: list[int] | None = None) -> Array:
        """Return observations (B, obs_dim) of fields (B, ...)."""
        obs = call_task("observe", self._task.observe, now, indices=indices)
        return as_numbers("the observation", obs, (len(now["qpos"]), self.obs_dim))

    def advance(
        self, action: Action, active: NDArray[np.bool_] | None = None
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Step environments; see Simulation.advance."""
        before, control = self._now, action
        if self._task.steers:
            control = call_task("control", self._task.control, before, action)
            control = as_numbers("what control() returned", control, action.shape)
        rows = None if active is None else np.flatnonzero(active).astype(np.int32)
        skip = self._task.frame_skip
        self.physics.step(control if rows is None else control[rows], num_substeps=skip, rows=rows)
        self._check_warnings(rows)
        now = self.physics.read()
        self._before, self._action, self._now = before, action, now
        obs = self._observe(now)
        arguments = before, action, now, self._dt
        outcome = call_task("outcome", self._task.outcome, *arguments)
        reward, terminated = as_pair("outcome", outcome)
        shape = (self.num_envs,)
        return (
            obs,
            as_numbers("the reward", reward, shape),
            as_flags("terminated", terminated, shape),
        )

    def _check_warnings(self, rows: NDArray[np.int32] | None) -> None:
        """Raise an EnvironmentFault where MuJoCo has found something wrong."""
        counts = self.physics.warnings(rows)
        wrong = np.flatnonzero(blown_up(counts))
        if len(wrong):
            what = f"MuJoCo found {describe_warnings(counts[wrong[0]])}"
            raise EnvironmentFault(
                what, index=int((wrong if rows is None else rows[wrong])[0]), step=0
            )

    def start_info(self) -> dict[str, np.ndarray]:
        """Return gymnasium's `info` of a reset; see Simulation.start_info."""
        return call_task("start_info", self._task.start_info, self._now)

    def step_info(self) -> dict[str, np.ndarray]:
        """Return gymnasium's `info` of the latest step; see Simulation.step_info."""
        arguments = (self._before, self._action, self._now, self._dt)
        return call_task("step_info", self._task.step_info, *arguments)

    def get_state(self) -> Array:
        """Return mjSTATE_INTEGRATION, the lagged fields, and the parameters of each environment."""
        return self._pack(self.physics, self._now, self.num_envs)

    def set_state(self, state: Array) -> None:
        """Restore a state of get_state; nothing is recomputed, so stepping goes on exactly."""
        self._now = self._load(self.physics, state)

    def _pack(self, physics: Physics, fields: NumpyFields, num_rows: int) -> Array:
        """Return the states (B, state_dim) of the first B simulations and their fields (B, ...)."""
        lagged = [fields[name].reshape(num_rows, -1) for name in self._task.fields]
        parts = (physics.state[:num_rows], *lagged, physics.parameters[:num_rows])
        return np.concatenate(parts, axis=1)

    def _load(self, physics: Physics, state: Array) -> NumpyFields:
        """Write states (B, state_dim) into the first B simulations; return their fields."""
        rows = np.arange(len(state), dtype=np.int32)
        start = physics.state.shape[1]
        physics.load(state[:, :start], state[:, state.shape[1] - physics.parameters.shape[1] :])
        fields = physics.read(rows)
        for name in self._task.fields:  # those of the last step, which nothing recomputes
            shape = fields[name].shape
            width = math.prod(shape[1:])
            fields[name] = state[:, start : start + width].reshape(shape).copy()
            start += width
        return fields

    def simulate(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> SimulatedSequences:
        """Simulate action sequences; see Simulation.simulate.

        Rows that have terminated stand still: the steps after a fall are wasted.
        """
        num_rows, horizon = action.shape[:2]
        physics = self._sequences
        if physics is None or len(physics.state) < num_rows:
            physics = self._sequences = self._simulations(num_rows)
        now = self._load(physics, state)
        obs, reward = np.zeros((num_rows, horizon, self.obs_dim)), np.zeros((num_rows, horizon))
        terminated, valid = np.zeros((2, num_rows, horizon), dtype=bool)
        rows = np.arange(num_rows, dtype=np.int32)
        for t in range(horizon):
            before, chosen = now, action[rows, t]
            steers = self._task.steers
            control = np.asarray(self._task.control(before, chosen)) if steers else chosen
            physics.step(control, num_substeps=self._task.frame_skip, rows=rows)
            now = physics.read(rows)
            with np.errstate(all="ignore"):  # of what has blown up; it is marked
                seen = np.asarray(self._task.observe(now))
                paid, ended = map(np.asarray, self._task.outcome(before, chosen, now, self._dt))
                sound = ~blown_up(physics.warnings(rows)) & np.isfinite(paid)
                sound &= np.isfinite(seen).all(1)
                for name in ("qpos", "qvel"):
                    sound &= (np.abs(now[name]) < mujoco.mjMAXVAL).all(1)
            if t:
                sound &= valid[rows, t - 1]
            # what leaves out keeps its last row
            obs[rows, t:], reward[rows, t] = seen[:, None], paid
            terminated[rows, t:], valid[rows, t:] = ended[:, None], sound[:, None]
            if self._task.ends and not with_state:
                alive = sound & ~ended
                rows, now = rows[alive], {name: field[alive] for name, field in now.items()}
                if not len(rows):
                    break
        last = self._pack(physics, now, num_rows) if with_state else None
        return SimulatedSequences(obs, reward, terminated, valid, last)

    def parameters_at(self, share: Array) -> Array:
        """Return physical parameters at shares of their ranges; see Simulation.parameters_at."""
        return self._parameters.at(share)

    def close(self) -> None:
        """Release the simulations of sequences."""
        self._sequences = None


def load_model(task: MujocoTask, *, longest_delay: float = 0.0) -> mujoco.MjModel:
    """Load the model of a task.

    Args:
        task: has the path of the model.
        longest_delay: seconds by which controls may be delayed; 0 leaves the model as it is.

    Raises:
        BadInput: if it cannot be loaded, or an attribute of the task is out of range.
    """
    if not isinstance(task, MujocoTask):
        raise BadInput(f"task={task!r}: should be a MujocoTask, such as mbrl.envs.tasks.Hopper()")
    for name in ("frame_skip", "max_episode_steps"):
        check_value(name, getattr(task, name), Count, {})
    if not isinstance(task.model_path, str | Path) or "<" in str(task.model_path):
        text = isinstance(task.model_path, str | Path)
        kind = "MJCF itself" if text else f"a {type(task.model_path).__name__}"
        raise BadInput(f"model_path: {kind} should be the path of an MJCF file")
    try:
        model = mujoco.MjModel.from_xml_path(str(task.model_path))
        if longest_delay:
            spec = mujoco.MjSpec.from_file(str(task.model_path))
            add_delays(spec, longest_delay)
            model = spec.compile()
    except BadInput:  # of the delay
        raise
    except (ValueError, OSError, mujoco.FatalError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"model_path={task.model_path}: MuJoCo cannot load it: {reason}") from None
    if not model.opt.timestep > 0:
        raise BadInput(
            f"model_path={task.model_path}: its timestep is {model.opt.timestep:g} s; should be "
            "above 0"
        )
    problem = _unsupported(model, task.model_path)
    if problem is not None:
        raise BadInput(f"model_path={task.model_path}: {problem}")
    return model


def _unsupported(model: mujoco.MjModel, path: Path) -> str | None:
    """Return what of a model no saved state could go on from, None if nothing."""
    for name, bit in (("sleep", "mjENBL_SLEEP"), ("ipc", "mjENBL_IPC")):
        if model.opt.enableflags & getattr(mujoco.mjtEnableBit, bit):
            return f'its option flag {name}="enable" keeps what no state holds; should be "disable"'
    if model.nplugin:
        plugins = {plugin.plugin_name for plugin in mujoco.MjSpec.from_file(str(path)).plugins}
        strange = sorted(name for name in plugins if not name.startswith("mujoco."))
        if strange:  # MuJoCo's own keep their state in MuJoCo's
            return f"its plugin {strange[0]} may keep what no state holds; should be MuJoCo's own"
    return None


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
    randomize: dict[str, list[NonNegative]] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of a MuJoCo task.

    Args:
        task: the model and its equations.
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        num_threads: threads that step or simulate them.
        randomize: ranges of physical parameters, which each episode draws anew, such as
            {body_mass: [0.8, 1.2], delay: [0, 0.02]}; null for the model's own. See
            PhysicalParameters.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    simulation = MujocoSimulation(
        task, num_envs=num_envs, num_threads=num_threads, randomize=randomize
    )
    return SimulatedVecEnv(simulation, seed=seed, dtype=dtype, device=device)
