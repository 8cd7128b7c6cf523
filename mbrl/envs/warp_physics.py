"""Physics of MuJoCo Warp: many worlds of one model on a device, stepped by captured graphs.

MuJoCo Warp computes in float32, has no PGS solver and is not deterministic on a GPU. Its arrays are
shared with torch without a copy.
"""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import dataclasses
import functools
import importlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, final

import mujoco
import torch
from torch import Tensor

from mbrl.envs.mujoco_task import FORCES
from mbrl.errors import BadInput
from mbrl.memory import in_words, is_too_large, total_memory

LARGEST = 1e10  # MuJoCo's mjMAXVAL: a simulation beyond it has blown up
NEEDS = "Warp's wheel needs NVIDIA's driver 580 or newer, a +cu12 wheel of its releases 525"
_log = logging.getLogger(__name__)
_STATE = ("time", "qpos", "qvel", "act", "history", "qacc_warmstart", "ctrl")


def import_warp() -> tuple[Any, Any]:
    """Return the modules warp and mujoco_warp.

    Raises:
        BadInput: if they are not installed, with the command that installs them.
    """
    try:
        wp = importlib.import_module("warp")
        mjw = importlib.import_module("mujoco_warp")
    except ImportError as error:
        raise BadInput(
            f"backend=warp: {error.name} is not installed; pip install 'dynaplan[gpu]'"
        ) from None
    if wp.config.log_level == wp.LOG_INFO:  # it prints every kernel that it loads
        wp.config.log_level = wp.LOG_WARNING
    return wp, mjw


@final
class WarpPhysics:
    """Worlds of a MuJoCo model, float32; all tensors are views of Warp's own arrays.

    Args:
        model: the MuJoCo model; its solver is replaced by Newton's if MuJoCo Warp has it not.
        path: of its file, for messages.
        num_worlds: E.
        frame_skip: simulation steps of a step.
        names: MjData fields that are read.
        device: "cuda", "cuda:N" or "cpu".
        nconmax: contacts per world, which all worlds share; None for MuJoCo Warp's guess.
        njmax: rows of constraints in each world; None for MuJoCo Warp's guess.

    Attributes:
        fields: the named fields, (E, ...).
        control: of the actuators (E, nu).
        overflow: what did not fit in a world since its start, bits of OverflowType (E,).
        nconmax: contacts per world.
        njmax: rows of constraints in each world.

    Raises:
        BadInput: if Warp is not installed, the device is not there, MuJoCo Warp cannot simulate the
            model, or the worlds do not fit in memory.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        path: object,
        *,
        num_worlds: int,
        frame_skip: int,
        names: tuple[str, ...],
        device: torch.device | str,
        nconmax: int | None = None,
        njmax: int | None = None,
    ):
        """Allocate the worlds and capture what a step and a start launch."""
        self._wp, self._mjw = import_warp()
        self.device = _existing(device, self._wp)
        _replace_solver(model, path)
        self._names, self._skip = names, frame_skip
        sizes = {"nconmax": nconmax, "njmax": njmax}
        with self._wp.ScopedDevice(str(self.device)):
            self._model = self._put(model, path)
            try:
                self._check_memory(model, num_worlds, sizes)
                self._data = self._mjw.make_data(model, nworld=num_worlds, **sizes)
                self._bind(num_worlds)
                self._capture()
            except (RuntimeError, MemoryError) as error:
                if not _is_full(error):
                    raise
                raise self._too_many(model, num_worlds, sizes) from error

    def _put(self, model: mujoco.MjModel, path: object) -> Any:
        """Return the model on the device.

        Raises:
            BadInput: if it has a feature that MuJoCo Warp lacks.
        """
        try:
            put = self._mjw.put_model(model)
        except (NotImplementedError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise BadInput(
                f"model_path={path}: MuJoCo Warp cannot simulate it ({reason}); "
                "take backend=threads"
            ) from None
        put.opt.warn_overflow = 0  # it would print from the device, without the environment
        if self.device.type == "cuda":  # older drivers have no loops in graphs
            put.opt.graph_conditional = self._wp.is_conditional_graph_supported()
        return put

    def _bind(self, num_worlds: int) -> None:
        """Find the arrays that are read or written in a step, as tensors."""
        wp, data = self._wp, self._data
        for name in self._names:
            if not isinstance(getattr(data, name, None), wp.array):
                raise BadInput(f"fields: {name} is no field that MuJoCo Warp computes")
        self.fields = {name: wp.to_torch(getattr(data, name)) for name in self._names}
        self.control = wp.to_torch(data.ctrl)
        self.overflow = wp.to_torch(data.overflow)
        self.nconmax, self.njmax = data.naconmax // num_worlds, data.njmax
        self._state = {
            name: wp.to_torch(getattr(data, name)) for name in _STATE if getattr(data, name).size
        }
        self._restarted = wp.zeros(num_worlds, dtype=bool)
        self._mask = wp.to_torch(self._restarted)

    def _capture(self) -> None:
        """Capture the graphs of a step, of a start, and of the fields at a start."""
        model, data, mjw = self._model, self._data, self._mjw
        forces = not set(FORCES).isdisjoint(self._names)
        others = set(self._names) - {"qpos", "qvel"}

        def step() -> None:
            for _ in range(self._skip):
                mjw.step(model, data)
            if forces:  # as gymnasium does, by the accelerations of the last simulation step
                mjw.rne_postconstraint(model, data)

        self._step = self._graph(step)
        self._reset = self._graph(lambda: mjw.reset_data(model, data, reset=self._restarted))
        self._forward = None
        if others:
            self._forward = self._graph(lambda: mjw.forward(model, data))
        self._mask.fill_(True)  # what was captured has been run once
        self._launch(self._reset)
        self._mask.fill_(False)

    def _graph(self, launch: Callable[[], None]) -> Any:
        """Return the graph of what a function launches; it is run once, to compile its kernels."""
        launch()
        with self._wp.ScopedCapture() as capture:
            launch()
        self._wp.synchronize_device()
        return capture.graph

    def _launch(self, graph: Any) -> None:
        """Run a graph among the operations of torch, in their order."""
        on_gpu = self.device.type == "cuda"
        stream = self._wp.stream_from_torch(self.device) if on_gpu else None
        self._wp.capture_launch(graph, stream=stream)

    def step(self) -> None:
        """Simulate frame_skip steps of every world with the controls."""
        self._launch(self._step)

    def start(self, mask: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Start some worlds anew; the fields of the others mean nothing until the next step.

        Args:
            mask: (E,) bool, which.
            qpos: (E, nq), used where mask holds.
            qvel: (E, nv), used where mask holds.
        """
        self._mask.copy_(mask)
        self._launch(self._reset)
        for name, start in (("qpos", qpos), ("qvel", qvel)):
            field = self.fields[name]
            torch.where(mask[:, None], start, field, out=field)
        if self._forward is not None:
            self._launch(self._forward)
            for name in set(FORCES) & set(self._names):
                field = self.fields[name]
                field.masked_fill_(mask.reshape(-1, *[1] * (field.ndim - 1)), 0.0)

    def get_state(self) -> dict[str, Tensor]:
        """Return copies of all that the physics needs to go on, (E, ...) each, on the CPU."""
        return {name: array.to("cpu", copy=True) for name, array in self._state.items()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Restore what get_state returned.

        Raises:
            ValueError: if it is that of other worlds.
        """
        for name, array in self._state.items():
            if name not in state or state[name].shape != array.shape:
                saved = tuple(state[name].shape) if name in state else "not there"
                raise ValueError(f"state: its {name} is {saved}, should be {tuple(array.shape)}")
            array.copy_(state[name])

    def _check_memory(self, model: mujoco.MjModel, num_worlds: int, sizes: dict[str, Any]) -> None:
        """Check that the worlds fit in memory, before anything is allocated.

        Raises:
            BadInput: saying how many would.
        """
        if num_worlds * self._bytes_per_world(model, sizes) > free_memory(self.device):
            raise self._too_many(model, num_worlds, sizes)

    def _too_many(self, model: mujoco.MjModel, num_worlds: int, sizes: dict[str, Any]) -> BadInput:
        """Return the error that says how many worlds fit."""
        each, free = self._bytes_per_world(model, sizes), free_memory(self.device)
        most = min(int(free // each), num_worlds - 1)
        if most < 1 and (given := {k: v for k, v in sizes.items() if v is not None}):
            shown = ", ".join(f"{name}={value}" for name, value in given.items())
            return BadInput(
                f"{shown}: a world needs more memory than is free on {self.device} "
                f"({in_words(free)}); choose less"
            )
        return BadInput(
            f"num_envs={num_worlds}: takes about {in_words(num_worlds * each)} on {self.device}, "
            f"where {in_words(free)} are free; should be at most {most}"
        )

    def _bytes_per_world(self, model: mujoco.MjModel, sizes: dict[str, Any]) -> float:
        """Return the bytes of a world: of its arrays, and as many for a step's temporary ones.

        Those of a step were measured as .7 to .8 of the arrays (Hopper, InvertedPendulum).
        """
        worlds = (1, 9)
        with self._wp.ScopedDevice("cpu"):
            try:
                small, large = (
                    sum(_sizes(self._mjw.make_data(model, nworld=n, **sizes))) for n in worlds
                )
            except (RuntimeError, MemoryError, ValueError) as error:
                if not _is_full(error):
                    raise
                return math.inf
        return 2 * (large - small) / (worlds[1] - worlds[0])


def _is_full(error: Exception) -> bool:
    """Return whether an error says that memory was short; Warp has words of its own."""
    words = "Failed to allocate", "Array shapes must not exceed"
    return is_too_large(error) or any(word in str(error) for word in words)


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on a device; of the CPU those that the machine has.

    Args:
        device: of torch.
    """
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float(total_memory())


def _sizes(data: Any) -> Iterator[int]:
    """Yield the bytes of every array of a dataclass of MuJoCo Warp."""
    for field in dataclasses.fields(data):
        value = getattr(data, field.name)
        if dataclasses.is_dataclass(value):
            yield from _sizes(value)
        elif hasattr(value, "capacity"):
            yield value.capacity


def _existing(device: torch.device | str, wp: Any) -> torch.device:
    """Return a device with its number.

    Raises:
        BadInput: if torch or Warp does not find it.
    """
    wanted = torch.device(device)
    if wanted.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if wanted.type != "cuda" or (wanted.index or 0) >= count:
        raise BadInput(f"device={device}: there are {count} CUDA devices here; use device=cpu")
    if (wanted.index or 0) >= wp.get_cuda_device_count():
        raise BadInput(
            f"device={device}: torch has it, but Warp does not find it; {NEEDS}; use device=cpu"
        )
    return torch.device("cuda", wanted.index or 0)


def _replace_solver(model: mujoco.MjModel, path: object) -> None:
    """Replace a solver that MuJoCo Warp does not have, in place."""
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        _say_newton(str(path))


@functools.cache
def _say_newton(path: str) -> None:
    """Write into the log that a model is solved otherwise than it asks for, once."""
    _log.warning(
        "%s asks for the PGS solver, which MuJoCo Warp does not have: it is solved by Newton's "
        "method, so its contacts differ a little from those of backend=threads",
        path,
    )
