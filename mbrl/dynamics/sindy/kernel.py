"""C kernel of sparse equations, compiled where a compiler is found."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.dynamics.sindy.codegen import System, step_statements

_BLOCK = 64  # rows of a C loop


def c_source(system: System) -> str:
    """Return a step as C, for float64 and float32 rows."""
    parts = ["#include <math.h>"]
    n, m = system.num_obs, system.num_actions
    for real, suffix in (("double", ""), ("float", "f")):
        lines, out = step_statements(system, lambda x, suffix=suffix: f"{float(x)!r}{suffix}")
        loads = [f"in[{j}][i] = obs[(b + i) * {n} + {j}];" for j in range(n)]
        loads += [f"in[{n + j}][i] = action[(b + i) * {m} + {j}];" for j in range(m)]
        code = [f"const {real} v{j} = in[{j}][i];" for j in range(n + m)]
        for name, expression in lines:
            for function in ("sin", "cos") if suffix else ():
                expression = expression.replace(f"{function}(", f"{function}{suffix}(")
            code.append(f"const {real} {name} = {expression};")
        code += [f"out[{j}][i] = {name};" for j, name in enumerate(out)]
        stores = [f"next[(b + i) * {n} + {j}] = out[{j}][i];" for j in range(n)]
        parts.append(
            f"void step_{real}(long rows, const {real} *restrict obs, "
            f"const {real} *restrict action, {real} *restrict next) {{\n"
            f"  {real} in[{n + m}][{_BLOCK}], out[{n}][{_BLOCK}];\n"
            f"  for (long b = 0; b < rows; b += {_BLOCK}) {{\n"
            f"    const long k = rows - b < {_BLOCK} ? rows - b : {_BLOCK};\n"
            f"    for (long i = 0; i < k; i++) {{ {' '.join(loads)} }}\n"
            f"    for (long i = 0; i < k; i++) {{\n      "
            + "\n      ".join(code)
            + f"\n    }}\n    for (long i = 0; i < k; i++) {{ {' '.join(stores)} }}\n  }}\n}}"
        )
    return "\n".join(parts)


def find_compiler() -> str | None:
    """Return the path of a C compiler, $CC, cc, gcc or clang; None if there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path:
            return path
    return None


@final
class Kernel:
    """Compiled step of a sparse system.

    Args:
        system: the equations.

    Raises:
        OSError: if there is no compiler, or it fails.
    """

    def __init__(self, system: System):
        """Compile the step and load it; its files are removed at once."""
        compiler = find_compiler()
        if compiler is None:
            raise OSError("no C compiler (cc, gcc or clang) on the PATH")
        with tempfile.TemporaryDirectory(prefix="mbrl-sindy-") as folder:
            source, library = Path(folder) / "step.c", Path(folder) / "step.so"
            source.write_text(c_source(system))
            options = ["-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC"]
            command = [compiler, *options, str(source), "-o", str(library), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"{compiler} failed: {(done.stderr or '?').splitlines()[0]}")
            loaded = ctypes.CDLL(str(library))
        pointer = ctypes.c_void_p
        self._double, self._float = loaded.step_double, loaded.step_float
        for function in (self._double, self._float):
            function.argtypes = (ctypes.c_long, pointer, pointer, pointer)
            function.restype = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Kernel:
        """Return the same kernel, whose code cannot change."""
        return self

    def numpy(self, obs: NDArray[Any], action: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        """Step rows obs (B, n), action (B, m) into out (B, n), of one type, contiguous."""
        call = self._double if obs.dtype == np.float64 else self._float
        call(obs.shape[0], obs.ctypes.data, action.ctypes.data, out.ctypes.data)
        return out

    def torch(self, obs: Tensor, action: Tensor) -> Tensor:
        """Step rows obs (B, n), action (B, m) of one type on the CPU."""
        obs, action = obs.contiguous(), action.contiguous()
        out = torch.empty_like(obs)
        call = self._double if obs.dtype == torch.float64 else self._float
        call(obs.shape[0], obs.data_ptr(), action.data_ptr(), out.data_ptr())
        return out
