"""Checks of the arrays that models, planners and agents are given, in one place for every subclass.

`mbrl.roles` wraps the methods of its abstract classes with them. A part of one's own is checked as
well, and says nothing about it. Arrays, lists and other number formats become float32 tensors.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.errors import BadInput
from mbrl.types import Transitions, as_rows, check_finite, map_tensors

Method = Callable[..., Any]


def wrap(cls: type, checks: dict[str, Callable[[Method], Method]]) -> None:
    """Wrap the methods that a class defines itself.

    Args:
        cls: the class, changed in place.
        checks: name of a method -> what wraps it.
    """
    for name, check in checks.items():
        if name in vars(cls):
            setattr(cls, name, check(vars(cls)[name]))


def checked_fit(fit: Method) -> Method:
    """Return a method that checks the transitions that a model is fitted to.

    Args:
        fit: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(fit)
    def wrapped(self: Any, data: Transitions, **options: Any) -> Any:
        if not isinstance(data, Transitions):
            kind = type(data).__name__
            raise BadInput(f"data: {kind} should be Transitions, as of Transitions.from_arrays")
        data = data.validated(
            obs_dim=self.obs_dim or None, act_dim=self.act_dim or None, device=_device(self)
        )
        return fit(self, data, **options)

    return wrapped


def checked_initial(initial: Method) -> Method:
    """Return a method that checks the observations at which a belief begins.

    Args:
        initial: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(initial)
    def wrapped(self: Any, obs: Tensor, **options: Any) -> Any:
        obs = as_rows("obs", obs, width=self.obs_dim or None, device=_device(self), finite=True)
        return initial(self, obs, **options)

    return wrapped


def checked_observe(observe: Method) -> Method:
    """Return a method that checks a real step from which a belief is updated.

    Args:
        observe: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(observe)
    def wrapped(
        self: Any, state: Any, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Any:
        rows, device = belief_rows(state)
        obs = as_rows("obs", obs, width=self.obs_dim or None, device=device, finite=True)
        if rows % obs.shape[0]:
            raise BadInput(
                f"obs: shape {tuple(obs.shape)} should have as many rows as the belief's {rows}, "
                "or a whole part of them"
            )
        like_obs: dict[str, Any] = {"num_rows": obs.shape[0], "device": device, "finite": True}
        action = as_rows("action", action, width=self.act_dim or None, **like_obs)
        return observe(self, state, action, obs, env_state)

    return wrapped


def checked_step(step: Method) -> Method:
    """Return a method that checks the actions of a step, but not whether they are finite.

    Args:
        step: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(step)
    def wrapped(self: Any, state: Any, action: Tensor, **options: Any) -> Any:
        rows, device = belief_rows(state)
        action = as_rows("action", action, width=self.act_dim or None, num_rows=rows, device=device)
        return step(self, state, action, **options)

    return wrapped


def checked_uncertainty(uncertainty: Method) -> Method:
    """Return a method that checks the observations and actions whose uncertainty is asked for.

    Args:
        uncertainty: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(uncertainty)
    def wrapped(self: Any, obs: Tensor, action: Tensor) -> Tensor:
        device = _device(self)
        obs = as_rows("obs", obs, width=self.obs_dim or None, device=device, finite=True)
        like_obs: dict[str, Any] = {"num_rows": obs.shape[0], "device": device, "finite": True}
        action = as_rows("action", action, width=self.act_dim or None, **like_obs)
        return uncertainty(self, obs, action)

    return wrapped


def checked_plan(plan: Method) -> Method:
    """Return a method that checks the state of a model from which a plan begins.

    Args:
        plan: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(plan)
    def wrapped(self: Any, state: Any, model: Any, **options: Any) -> Any:
        rows, _ = belief_rows(state)
        if rows == 0 or rows % self.num_particles:
            raise BadInput(
                f"state: {rows} rows should be num_particles={self.num_particles} for each of the "
                "environments, at least one"
            )

        def check(tensor: Tensor) -> Tensor:
            if tensor.dim() < 2 or tensor.is_complex():
                shape = f"shape {tuple(tensor.shape)} of {tensor.dtype}"
                raise BadInput(f"state: {shape} should be ({rows}, ...) of real numbers")
            check_finite("state", tensor)
            return tensor

        map_tensors(check, state)
        previous, num_envs = options.get("previous"), rows // self.num_particles
        count = num_envs if previous is None else _leading(previous.warm_start, num_envs)
        if count != num_envs:
            raise BadInput(
                f"previous: a plan of {count} environments, but the state is of {num_envs}"
            )
        return plan(self, state, model, **options)

    return wrapped


def checked_act(act: Method) -> Method:
    """Return a method that checks the observations that an agent acts on.

    Args:
        act: the method of a subclass.

    Raises:
        BadInput: when it is called, naming what is wrong.
    """

    @functools.wraps(act)
    def wrapped(self: Any, obs: Tensor, **options: Any) -> Tensor:
        return act(self, as_rows("obs", obs, device=self.device, finite=True), **options)

    return wrapped


def belief_rows(state: Any) -> tuple[int, torch.device]:
    """Return the number of rows of a belief, and its device.

    Args:
        state: a tensor or a (named) tuple of tensors, batch first.

    Raises:
        BadInput: if it is something else.
    """
    tensors: list[Tensor] = []
    map_tensors(lambda tensor: tensors.append(tensor) or tensor, state)
    if not tensors or tensors[0].dim() == 0:
        raise BadInput(
            f"state: {type(state).__name__} should be a model's belief, as initial() returns it"
        )
    return tensors[0].shape[0], tensors[0].device


def _leading(warm_start: Any, otherwise: int) -> int:
    """Return the rows of the first tensor of a warm start, or otherwise where it has none."""
    tensors: list[Tensor] = []
    map_tensors(lambda tensor: tensors.append(tensor) or tensor, warm_start)
    return tensors[0].shape[0] if tensors else otherwise


def _device(model: Any) -> torch.device | None:
    """Return the device of a model's numbers, None if it has none."""
    if not isinstance(model, nn.Module):
        return None
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        return tensor.device
    return None
