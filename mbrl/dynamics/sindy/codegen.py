"""Code generated from the terms that are left: fast prediction from sparse equations.

Three back ends compute the same numbers: plain Python floats for one row, array code (numpy or
torch, differentiable) for many, and a C kernel where a compiler is found and asked for.
"""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.dynamics.sindy.library import ONE, Library, Term

_ROWS = 2048  # rows a numpy chunk has: what it touches stays in cache
_BLOCK = 64  # rows a C loop has


class System(NamedTuple):
    """Sparse equations of one step.

    Variables are numbered: the observations (n), the actions (m), the observations of the next
    step (n), of which the second stage may use those that the first has predicted.
    """

    num_obs: int
    num_actions: int
    delta: bool  # the first stage predicts changes
    targets: tuple[int, ...]  # observations of the first stage
    library: Library
    coefficients: NDArray[np.float64]  # (targets, terms)
    positions: tuple[int, ...] = ()  # observations whose change the second stage predicts
    angles: tuple[tuple[int, int], ...] = ()  # (cos, sin) that it turns, after the positions
    motion: Library = Library(())
    motion_coefficients: NDArray[np.float64] = np.zeros((0, 0))  # (positions + angles, terms)


class _Stage(NamedTuple):
    """The active part of a library: code for its features, and what multiplies them."""

    terms: Library
    weights: NDArray[np.float64]  # (targets, active terms)


def active(library: Library, coefficients: NDArray[np.float64]) -> _Stage:
    """Leave out the terms that no equation uses."""
    used = np.flatnonzero((coefficients != 0).any(0)) if coefficients.size else []
    return _Stage(Library(library[i] for i in used), coefficients[:, used])


def _name(term: Term) -> str:
    """Name the local variable that holds a term."""
    if len(term.variables) == 1 and not term.waves:
        return f"v{term.variables[0]}"
    parts = [str(v) for v in term.variables] + [f"{f}{k}_{v}" for f, k, v in term.waves]
    return "t_" + "_".join(parts)


def statements(terms: Sequence[Term], number: Callable[[float], str]) -> list[tuple[str, str]]:
    """Write assignments (name, expression) from which every term can be read."""
    lines: dict[str, str] = {}

    def need(term: Term) -> str:
        name = _name(term)
        if term == ONE or name in lines or name[0] == "v":
            return name
        if term.waves:
            rest = Term(term.variables, term.waves[:-1])
            function, k, v = term.waves[-1]
            last = Term((), (term.waves[-1],))
            if rest != ONE:
                left, right = need(rest), need(last)
                lines[name] = f"{left} * {right}"
            else:
                lines[name] = f"{function}({f'v{v}' if k == 1 else f'{number(k)} * v{v}'})"
        else:
            left = need(Term(term.variables[:-1]))
            lines[name] = f"{left} * v{term.variables[-1]}"
        return name

    for term in terms:
        need(term)
    return list(lines.items())


def weighted_sum(stage: _Stage, row: int, number: Callable[[float], str]) -> str:
    """Write one equation."""
    parts = []
    for term, weight in zip(stage.terms, stage.weights[row], strict=True):
        if weight != 0:
            value = number(float(weight))
            parts.append(value if term == ONE else f"{value} * {_name(term)}")
    return " + ".join(parts) or number(0.0)


def _body(system: System, number: Callable[[float], str]) -> tuple[list[tuple[str, str]], list]:
    """Write a whole step as assignments, and where each next observation stands."""
    first = active(system.library, system.coefficients)
    second = active(system.motion, system.motion_coefficients)
    lines = statements(first.terms, number)
    base = system.num_obs + system.num_actions
    out = [f"v{i}" for i in range(system.num_obs)]
    for row, target in enumerate(system.targets):
        change = weighted_sum(first, row, number)
        lines.append((f"v{base + target}", f"v{target} + ({change})" if system.delta else change))
        out[target] = f"v{base + target}"
    lines += statements(second.terms, number)
    for row, target in enumerate(system.positions):
        out[target] = f"v{base + target}"
        lines.append((out[target], f"v{target} + ({weighted_sum(second, row, number)})"))
    for row, (c, s) in enumerate(system.angles, start=len(system.positions)):
        lines.append((f"turn{row}", weighted_sum(second, row, number)))
        lines.append((f"cos{row}", f"cos(turn{row})"))
        lines.append((f"sin{row}", f"sin(turn{row})"))
        out[c], out[s] = f"v{base + c}", f"v{base + s}"
        lines.append((out[c], f"v{c} * cos{row} - v{s} * sin{row}"))
        lines.append((out[s], f"v{s} * cos{row} + v{c} * sin{row}"))
    return lines, out


def python_source(system: System) -> str:
    """Write a step as a Python function of one row: step(v0, v1, ...) -> next observations."""
    lines, out = _body(system, repr)
    count = system.num_obs + system.num_actions
    head = f"def step({', '.join(f'v{i}' for i in range(count))}):"
    body = [f"    {name} = {expression}" for name, expression in lines]
    return "\n".join([head, *body, f"    return ({''.join(f'{o}, ' for o in out)})"])


def features_source(terms: Library, count: int) -> str:
    """Write the features as a Python function of columns: features(v0, ..., one) -> columns."""
    head = f"def features({', '.join(f'v{i}' for i in range(count))}, one):"
    body = [f"    {name} = {expression}" for name, expression in statements(terms, repr)]
    names = ["one" if t == ONE else _name(t) for t in terms]
    return "\n".join([head, *body, f"    return ({''.join(f'{n}, ' for n in names)})"])


def c_source(system: System) -> str:
    """Write a step as C, for float64 and float32 rows."""
    parts = ["#include <math.h>"]
    n, m = system.num_obs, system.num_actions
    for real, suffix in (("double", ""), ("float", "f")):
        lines, out = _body(system, lambda x, suffix=suffix: f"{float(x)!r}{suffix}")
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
    """Find a C compiler: $CC, cc, gcc or clang."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


class Kernel:
    """A compiled step.

    Raises:
        OSError: if there is no compiler, or it fails.
    """

    def __init__(self, system: System):
        """Compile and load it; the files are gone as soon as they are loaded."""
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
        """Share what is loaded."""
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


class Predictor:
    """One step of a sparse system, by whichever back end is fastest for the batch.

    Args:
        system: the equations.
        compile: make a C kernel.

    Attributes:
        kernel: the C kernel, None without one.
        why_not: why there is none though it was asked for.
    """

    def __init__(self, system: System, *, compile: bool = False):
        """Generate the code."""
        self.system = system
        self.kernel: Kernel | None = None
        self.why_not = ""
        if compile:
            try:
                self.kernel = Kernel(system)
            except OSError as error:
                self.why_not = str(error)
        self._row = _define(python_source(system), "step", math)
        self._stages = (
            active(system.library, system.coefficients),
            active(system.motion, system.motion_coefficients),
        )
        base = system.num_obs + system.num_actions
        self._numpy = [
            _define(features_source(stage.terms, count), "features", np)
            for stage, count in zip(self._stages, (base, base + system.num_obs), strict=True)
        ]
        self._torch = [
            _define(features_source(stage.terms, count), "features", torch)
            for stage, count in zip(self._stages, (base, base + system.num_obs), strict=True)
        ]
        self._weights: dict[Any, list[Tensor]] = {}

    # ---- numpy -------------------------------------------------------------------------------

    def numpy(
        self,
        obs: NDArray[Any],
        action: NDArray[Any] | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Predict next_obs (B, n) for obs (B, n), action (B, m), float64 or float32.

        Args:
            obs: rows.
            action: rows of the same type; None if there are no actions.
            out: contiguous, where to put the result; for 100 000 rows the memory of a new array
                costs more than the prediction.
        """
        rows = obs.shape[0]
        action = np.empty((rows, 0), obs.dtype) if action is None else action
        out = np.empty((rows, self.system.num_obs), obs.dtype) if out is None else out
        if rows == 1:
            out[0] = self._row(*obs[0].tolist(), *action[0].tolist())
            return out
        if self.kernel is not None:
            obs, action = np.ascontiguousarray(obs), np.ascontiguousarray(action, obs.dtype)
            return self.kernel.numpy(obs, action, out)
        for start in range(0, rows, _ROWS):
            part = slice(start, start + _ROWS)
            self._chunk(obs[part], action[part], out[part])
        return out

    def _chunk(self, obs: NDArray[Any], action: NDArray[Any], out: NDArray[Any]) -> None:
        """Predict one chunk in place, column by column."""
        system = self.system
        columns = [*np.ascontiguousarray(obs.T), *np.ascontiguousarray(action.T)]
        first = self._numpy_stage(0, columns, obs.dtype)
        new = list(columns[: system.num_obs])
        for row, target in enumerate(system.targets):
            new[target] = first[row] + columns[target] if system.delta else first[row]
        if system.positions or system.angles:
            second = self._numpy_stage(1, [*columns, *new], obs.dtype)
            for row, target in enumerate(system.positions):
                new[target] = columns[target] + second[row]
            for row, (c, s) in enumerate(system.angles, start=len(system.positions)):
                cosine, sine = np.cos(second[row]), np.sin(second[row])
                new[c] = columns[c] * cosine - columns[s] * sine
                new[s] = columns[s] * cosine + columns[c] * sine
        for i, column in enumerate(new):
            out[:, i] = column

    def _numpy_stage(self, index: int, columns: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        """Evaluate one stage: (targets, B)."""
        stage = self._stages[index]
        one = np.ones_like(columns[0])
        if not stage.terms:
            return np.zeros((stage.weights.shape[0], one.shape[0]), dtype)
        return stage.weights.astype(dtype) @ np.stack(self._numpy[index](*columns, one))

    # ---- torch -------------------------------------------------------------------------------

    def torch(self, obs: Tensor, action: Tensor) -> Tensor:
        """Predict next_obs (B, n) for obs (B, n), action (B, m); differentiable."""
        needs_grad = torch.is_grad_enabled() and (obs.requires_grad or action.requires_grad)
        if self.kernel is not None and obs.device.type == "cpu" and not needs_grad:
            return self.kernel.torch(obs, action.to(obs.dtype))
        key = obs.dtype, obs.device
        if key not in self._weights:
            self._weights[key] = [torch.from_numpy(s.weights).to(obs) for s in self._stages]
        first, second = self._weights[key]
        return advance(self.system, obs, action, self._torch, first, second)


def advance(
    system: System,
    obs: Tensor,
    action: Tensor,
    features: Sequence[Callable[..., Sequence[Tensor]]],
    first: Tensor,
    second: Tensor,
) -> Tensor:
    """Take a step in array code.

    Args:
        system: which observation each equation is for.
        obs: (..., B, n), leading dimensions for members.
        action: (..., B, m).
        features: of the two stages: columns (..., B) and a column of ones -> columns.
        first: weights (..., targets, features of the first stage).
        second: weights (..., positions + angles, features of the second stage).
    """
    columns = [*obs.unbind(-1), *action.to(obs.dtype).unbind(-1)]
    change = _product(first, features[0], columns)
    new = list(columns[: system.num_obs])
    for row, target in enumerate(system.targets):
        new[target] = new[target] + change[..., row, :] if system.delta else change[..., row, :]
    if system.positions or system.angles:
        moved = _product(second, features[1], [*columns, *new])
        for row, target in enumerate(system.positions):
            new[target] = columns[target] + moved[..., row, :]
        for row, (c, s) in enumerate(system.angles, start=len(system.positions)):
            cosine, sine = moved[..., row, :].cos(), moved[..., row, :].sin()
            new[c] = columns[c] * cosine - columns[s] * sine
            new[s] = columns[s] * cosine + columns[c] * sine
    return torch.stack(new, -1)


def _product(
    weights: Tensor, features: Callable[..., Sequence[Tensor]], columns: list[Tensor]
) -> Tensor:
    """Multiply weights (..., T, F) with features of columns (..., B): (..., T, B)."""
    found = features(*columns, torch.ones_like(columns[0]))
    if not found:
        return columns[0].new_zeros(*weights.shape[:-1], columns[0].shape[-1])
    return weights @ torch.stack(list(found), -2)


def _define(source: str, name: str, module: Any) -> Callable[..., Any]:
    """Make a function of generated source."""
    scope = {"sin": module.sin, "cos": module.cos}
    exec(compile(source, f"<sindy {name}>", "exec"), scope)
    return scope[name]
