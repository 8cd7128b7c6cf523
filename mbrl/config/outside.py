"""What a config speaks of, asked without importing torch: devices, gymnasium ids."""

from __future__ import annotations

import ast
import ctypes
import difflib
import importlib.util
import sys
from pathlib import Path

from mbrl.errors import BadInput


def check_gymnasium_id(key: str, id: str) -> None:
    """Refuse an id that gymnasium does not know; one in a module of its own only with the module.

    Raises:
        BadInput: naming the nearest id.
    """
    module, colon, _ = id.partition(":")
    if colon:
        top = module.partition(".")[0]
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            raise BadInput(f"{key}={id}: there is no module {module}")
        return
    if id.startswith("mbrl/"):
        return
    import gymnasium

    if id in gymnasium.registry:
        return
    try:
        gymnasium.spec(id)  # takes Hopper for its newest version
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(id, list(gymnasium.registry), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else str(error).splitlines()[0]
        raise BadInput(f"{key}={id}: no such gymnasium environment; {hint}") from None


def count_cuda_devices() -> int | None:
    """Count the devices that torch can have at most; None if it cannot be told.

    CUDA_VISIBLE_DEVICES may leave fewer: torch is asked again when the parts are built.
    """
    versions = _torch_versions()
    if versions is None or versions.get("hip"):
        return None
    if not versions.get("cuda"):
        return 0  # a build for the CPU
    nvml = _library("libnvidia-ml.so.1")
    if nvml is None:
        return None if _library("libcuda.so.1") else 0
    count = ctypes.c_uint(0)
    if nvml.nvmlInit_v2() != 0 or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return None
    return count.value


def _library(name: str) -> ctypes.CDLL | None:
    """Load a library of the driver, None if it is not installed."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _torch_versions() -> dict[str, object] | None:
    """Read torch/version.py; None if it cannot be found."""
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).parent / "version.py" if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    found: dict[str, object] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant):
            found |= {ast.unparse(t): value.value for t in targets if t is not None}
    return found
