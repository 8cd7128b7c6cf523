"""Prediction of a step from generated code, for any batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.dynamics.sindy.codegen import System, active, features_source, python_source
from mbrl.dynamics.sindy.kernel import Kernel
from mbrl.nn.memory import keep_freed_memory

_ROWS = 2048  # rows of a numpy chunk, which stays in the cache


@final
class Predictor:
    """One step of a sparse system, by the back end that is fastest for the batch.

    All back ends compute the same numbers up to rounding: Python floats for one row, array code
    (numpy, or torch with gradients) for many, and a C kernel on request. Results of many rows need
    much memory, which costs more than the prediction where it is fresh: the first predictor of a
    process lets glibc keep freed memory (mbrl.nn.memory).

    Args:
        system: the equations.
        compile: whether to make a C kernel.

    Attributes:
        kernel: the C kernel, or None.
        why_not: why there is no kernel though it was requested.
    """

    def __init__(self, system: System, *, compile: bool = False):
        """Generate the code."""
        keep_freed_memory()
        self.system = system
        self.kernel: Kernel | None = None
        self.why_not = ""
        self._rates: Predictor | None = None
        if system.flow:
            self._rates = Predictor(system._replace(flow=False), compile=compile)
            self.kernel, self.why_not = self._rates.kernel, self._rates.why_not
            return
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
        """Predict the next observations (B, n), in float64 or float32.

        Args:
            obs: (B, n).
            action: (B, m) of the same type; None if there are no actions.
            out: contiguous (B, n) for the result.
        """
        rows = obs.shape[0]
        action = np.empty((rows, 0), obs.dtype) if action is None else action
        out = np.empty((rows, self.system.num_obs), obs.dtype) if out is None else out
        if self._rates is not None:
            rates, given = self._rates, action
            out[:] = obs + runge_kutta(lambda x: rates.numpy(x, given) - x, obs)
            return out
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
        """Compute the equations of one stage on columns (B,): (targets, B)."""
        stage = self._stages[index]
        one = np.ones_like(columns[0])
        if not stage.terms:
            return np.zeros((stage.weights.shape[0], one.shape[0]), dtype)
        return stage.weights.astype(dtype) @ np.stack(self._numpy[index](*columns, one))

    # ---- torch -------------------------------------------------------------------------------

    def torch(self, obs: Tensor, action: Tensor) -> Tensor:
        """Predict next_obs (B, n) for obs (B, n), action (B, m); differentiable."""
        if self._rates is not None:
            rates = self._rates
            return obs + runge_kutta(lambda x: rates.torch(x, action) - x, obs)
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
    """Predict a step in array code: next observations (..., B, n).

    Args:
        system: the observation of each equation.
        obs: (..., B, n), leading dimensions for members.
        action: (..., B, m).
        features: of the two stages, columns (..., B) and a column of ones -> columns.
        first: weights (..., targets, features of the first stage).
        second: weights (..., positions + angles, features of the second stage).
    """
    if system.flow:
        plain = system._replace(flow=False)
        return obs + runge_kutta(
            lambda x: advance(plain, x, action, features, first, second) - x, obs
        )
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


def runge_kutta(rate: Callable[[Any], Any], obs: Any) -> Any:
    """Integrate rates per step over one step by the classical rule of order 4.

    Args:
        rate: of an observation, for the action that is held.
        obs: where the step begins (..., n), an array or a tensor.

    Returns:
        The change over the step (..., n).
    """
    a = rate(obs)
    b = rate(obs + a / 2)
    c = rate(obs + b / 2)
    return (a + 2 * b + 2 * c + rate(obs + c)) / 6


def _product(
    weights: Tensor, features: Callable[..., Sequence[Tensor]], columns: list[Tensor]
) -> Tensor:
    """Return the products of weights (..., T, F) with features of columns (..., B): (..., T, B)."""
    values = features(*columns, torch.ones_like(columns[0]))
    if not values:
        return columns[0].new_zeros(*weights.shape[:-1], columns[0].shape[-1])
    return weights @ torch.stack(list(values), -2)


def _define(source: str, name: str, module: Any) -> Callable[..., Any]:
    """Return the function of a name that generated source defines."""
    scope = {"sin": module.sin, "cos": module.cos}
    exec(compile(source, f"<sindy {name}>", "exec"), scope)
    return scope[name]
