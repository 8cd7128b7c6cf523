"""Checks of the arrays that models, planners and agents are given, in one place for every subclass.

`mbrl.roles` wraps the methods of its abstract classes with them. A part of one's own is checked as
well, and says nothing about it. Arrays, lists and other number formats become float32 tensors.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mbrl.errors import BadInput
from mbrl.types import Transitions, as_rows, check_finite

Method = Callable[..., Any]
Given = tuple[tuple[Any, ...], dict[str, Any]]  # positional arguments and options of a call
Check = Callable[..., Given]
T = TypeVar("T")


def wrap(cls: type[T], checks: dict[str, Check]) -> type[T]:
    """Check what the methods that a class defines itself are given, before they are called.

    Args:
        cls: the class, changed in place.
        checks: DYNAMICS, PLANNER or ACTOR: name of a method -> its check.

    Returns:
        The class.
    """
    for name, check in checks.items():
        if name in vars(cls):
            setattr(cls, name, _checked(vars(cls)[name], check))
    return cls


def _checked(method: Method, check: Check) -> Method:
    """Return a method that is called with what a check returns."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        args, options = check(self, *args, **options)
        return method(self, *args, **options)

    return wrapped


def _fit(model: Any, data: Transitions, **options: Any) -> Given:
    """Check the transitions that a model is fitted to."""
    if not isinstance(data, Transitions):
        kind = type(data).__name__
        raise BadInput(f"data: {kind} should be Transitions, as of Transitions.from_arrays")
    widths = {"obs_dim": model.obs_dim or None, "act_dim": model.act_dim or None}
    return (data.validated(**widths, device=_device(model)),), options


def _initial(model: Any, obs: Tensor, **options: Any) -> Given:
    """Check the observations (B, obs_dim) at which a belief begins."""
    return (_check_obs(model, obs, _device(model)),), options


def _observe(
    model: Any, state: Any, action: Tensor, obs: Tensor, env_state: Tensor | None = None
) -> Given:
    """Check a real step from which a belief is updated: action (B, act_dim) to obs (B, obs_dim)."""
    rows, device = belief_rows(state)
    obs = _check_obs(model, obs, device)
    if rows % obs.shape[0]:
        raise BadInput(
            f"obs: shape {tuple(obs.shape)} should have as many rows as the belief's {rows}, "
            "or a whole part of them"
        )
    return (state, _check_action(model, action, obs.shape[0], device), obs, env_state), {}


def _step(model: Any, state: Any, action: Tensor, **options: Any) -> Given:
    """Check the actions (B, act_dim) of a step, but not whether they are finite, for speed."""
    rows, device = belief_rows(state)
    return (state, _check_action(model, action, rows, device, finite=False)), options


def _uncertainty(model: Any, obs: Tensor, action: Tensor) -> Given:
    """Check the steps from obs (B, obs_dim) by action (B, act_dim) that are asked about."""
    device = _device(model)
    obs = _check_obs(model, obs, device)
    return (obs, _check_action(model, action, obs.shape[0], device)), {}


def _plan(planner: Any, state: Any, model: Any, **options: Any) -> Given:
    """Check the state of a model from which a plan begins, and the plan before."""
    rows, _ = belief_rows(state)
    if rows == 0 or rows % planner.num_particles:
        raise BadInput(
            f"state: {rows} rows should be num_particles={planner.num_particles} for each of the "
            "environments, at least one"
        )
    for tensor in _tensors(state):
        if tensor.dim() < 2 or tensor.is_complex():
            shape = f"shape {tuple(tensor.shape)} of {tensor.dtype}"
            raise BadInput(f"state: {shape} should be ({rows}, ...) of real numbers")
        check_finite("state", tensor)
    previous, num_envs = options.get("previous"), rows // planner.num_particles
    before = None if previous is None else next(_tensors(previous.warm_start), None)
    if before is not None and before.shape[0] != num_envs:
        count = before.shape[0]
        raise BadInput(f"previous: a plan of {count} environments, but the state is of {num_envs}")
    return (state, model), options


def _act(actor: Any, obs: Tensor, **options: Any) -> Given:
    """Check the observations (E, obs_dim) that an agent acts on."""
    return (as_rows("obs", obs, device=actor.device, finite=True),), options


def _check_obs(model: Any, obs: Tensor, device: torch.device | None) -> Tensor:
    """Return checked observations (B, obs_dim) for a model."""
    return as_rows("obs", obs, width=model.obs_dim or None, device=device, finite=True)


def _check_action(
    model: Any, action: Tensor, rows: int, device: torch.device | None, *, finite: bool = True
) -> Tensor:
    """Return checked actions (rows, act_dim) for a model."""
    width = model.act_dim or None
    return as_rows("action", action, width=width, num_rows=rows, device=device, finite=finite)


DYNAMICS: dict[str, Check] = {
    "fit": _fit,
    "initial": _initial,
    "observe": _observe,
    "step": _step,
    "uncertainty": _uncertainty,
}
PLANNER: dict[str, Check] = {"plan": _plan}
ACTOR: dict[str, Check] = {"act": _act}


def belief_rows(state: Any) -> tuple[int, torch.device]:
    """Return the number of rows of a belief, and its device.

    Args:
        state: a tensor or a (named) tuple of tensors, batch first.

    Raises:
        BadInput: if it is something else.
    """
    first = state if isinstance(state, Tensor) else next(_tensors(state), None)
    if first is None or first.dim() == 0:
        raise BadInput(
            f"state: {type(state).__name__} should be a model's belief, as initial() returns it"
        )
    return first.shape[0], first.device


def _tensors(state: Any) -> Iterator[Tensor]:
    """Yield the tensors of a belief or of a warm start, in their order."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, tuple):
        for leaf in state:
            yield from _tensors(leaf)


def _device(model: Any) -> torch.device | None:
    """Return the device of a model's numbers, None if it has none."""
    if not isinstance(model, nn.Module):
        return None
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        return tensor.device
    return None
