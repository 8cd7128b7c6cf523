"""What works on this machine, one line each, with what mends it where it does not."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from mbrl.memory import in_words

_DRIVER = Path("/proc/driver/nvidia/version")  # of the kernel's module
_ENVS, _STEPS, _REPEATS = 256, 10, 3  # of the comparison of threads
_GAIN = 1.3  # of two threads or more: below it something is in the way
_MOST_THREADS = 16
_PROBE = "import mujoco; context = mujoco.GLContext(16, 16); context.make_current(); context.free()"


def devices() -> str:
    """Return the devices of torch, or why there is no GPU among them."""
    import torch

    count = torch.cuda.device_count()
    if count:
        cards = [torch.cuda.get_device_properties(i) for i in range(count)]
        names = [f"cuda:{i} ({c.name}, {in_words(c.total_memory)})" for i, c in enumerate(cards)]
        return ", ".join(["cpu", *names, *_driver()])
    if not has_driver():
        return (
            "cpu; no GPU: there is no NVIDIA driver (libcuda.so.1); install one, or start the "
            "container with its GPUs"
        )
    build = f"torch {torch.__version__}"
    if torch.version.cuda is None:
        return f"cpu; no GPU: {build} is built without CUDA; take one from https://pytorch.org"
    return (
        f"cpu; no GPU: {build} for CUDA {torch.version.cuda} finds none; update the driver"
        f"{''.join(f' ({each})' for each in _driver())}, or look at CUDA_VISIBLE_DEVICES"
    )


def has_driver() -> bool:
    """Return whether NVIDIA's driver can be loaded."""
    try:
        ctypes.CDLL("libcuda.so.1" if os.name != "nt" else "nvcuda.dll")
    except OSError:
        return False
    return True


def _driver() -> list[str]:
    """Return the version of NVIDIA's driver in words, nothing if it is not known."""
    try:
        words = _DRIVER.read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return []
    versions = [word for word in words if word[:1].isdigit() and "." in word]
    return [f"driver {versions[0]}"] if versions else []


def warp() -> str:
    """Return whether env.backend=warp works, and on what."""
    try:
        own, other = (metadata.version(name) for name in ("mujoco-warp", "mujoco"))
        metadata.version("warp-lang")
    except metadata.PackageNotFoundError as error:
        return f"{error.name} is not installed; pip install 'dynaplan[gpu]'"
    if own.split(".")[:2] != other.split(".")[:2]:
        right = f"mujoco-warp=={'.'.join(other.split('.')[:2])}.*"
        return f"mujoco-warp {own} is not made for mujoco {other}; pip install '{right}'"
    if not has_driver():
        return "works on the CPU only, for checks: on a GPU it needs an NVIDIA driver"
    import warp as wp

    from mbrl.envs.warp_physics import NEEDS

    wp.init()
    if not wp.get_cuda_device_count():
        return f"works on the CPU only, for checks: it finds no GPU; {NEEDS}"
    if not wp.is_conditional_graph_supported():
        return "works on the GPU, slowly: the driver is older than CUDA 12.4; update it"
    return f"works on the GPU; its kernels are kept in {wp.config.kernel_cache_dir}"


def rendering() -> str:
    """Return whether MuJoCo can render, by which library."""
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    name = os.environ.get("MUJOCO_GL", "MuJoCo's default")
    try:
        import mujoco

        context = mujoco.GLContext(16, 16)  # type: ignore[attr-defined]
        context.make_current()
        context.free()
    except Exception as error:  # whatever a driver raises
        reason = " ".join(str(error).split()) or type(error).__name__
        others = [other for other in ("egl", "osmesa") if other != name and _renders(other)]
        if others:
            return f"{name} does not work ({reason}), {others[0]} does; set MUJOCO_GL={others[0]}"
        return (
            f"{name} does not work ({reason}); install libegl1 and set MUJOCO_GL=egl, or "
            "libosmesa6 and set MUJOCO_GL=osmesa"
        )
    return f"{name} works"


def _renders(name: str) -> bool:
    """Return whether MuJoCo can render by a library, tried in a process of its own."""
    environment = {**os.environ, "MUJOCO_GL": name}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def threads() -> str:
    """Return how much faster MuJoCo's batch is with a thread on each core."""
    cores = num_cores()
    if cores == 1:
        return "1 core: env.num_threads=1"
    number = min(cores, _MOST_THREADS)
    try:
        gain = _seconds(1) / _seconds(number)
    except ImportError as error:
        return f"mujoco.batch is missing ({error}); pip install 'mujoco>=3.17,!=4.0.0'"
    said = (
        f"{cores} cores: {number} threads step {_ENVS} environments {gain:.1f} times as fast as one"
    )
    if gain < _GAIN:
        return f"{said}; other programs use the cores, or the container has a part of them only"
    return f"{said}; env.num_threads={number}"


def num_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _seconds(num_threads: int) -> float:
    """Return the least time of a few steps of many inverted pendulums."""
    import torch

    from mbrl.envs import make_vec

    env = make_vec("InvertedPendulum-v5", _ENVS, num_threads=num_threads)
    env.reset(0)
    action, times = torch.zeros(_ENVS, 1), []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        for _ in range(_STEPS):
            env.step(action)
        times.append(time.perf_counter() - start)
    env.close()
    return min(times)
