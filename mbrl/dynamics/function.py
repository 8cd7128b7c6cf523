"""A model made of functions that the user writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

import torch
from torch import Tensor

from mbrl import inputs
from mbrl.errors import BadInput
from mbrl.types import Prediction, TaskFunction


@final
@partial(inputs.wrap, checks=inputs.DYNAMICS)
class FunctionModel:
    """Model given as functions, for planners and imagined rollouts; its state is the observation.

    Example:
        FunctionModel(lambda obs, action: obs + 0.1 * action, lambda obs, action, next_obs:
        -next_obs.square().sum(1))

    Args:
        next_obs: returns the successors (B, obs_dim) of obs (B, obs_dim) and action (B, act_dim).
        reward: returns the rewards (B,) of obs, action and next_obs.
        terminated: returns where an episode ends (B,), bool, of the same; None is nowhere.
    """

    obs_dim = act_dim = 0  # of any length

    def __init__(
        self,
        next_obs: Callable[[Tensor, Tensor], Tensor],
        reward: TaskFunction,
        terminated: TaskFunction | None = None,
    ):
        """Store the functions."""
        self._next_obs = next_obs
        self._reward = reward
        self._terminated = terminated

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the state at obs (B, obs_dim): num_particles * B equal rows."""
        return obs.repeat(num_particles, 1)

    def observe(
        self, state: Tensor, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Tensor:
        """Return the state after action (B, act_dim) led to obs (B, obs_dim).

        Args:
            state: (P * B, obs_dim) for P particles.
            action: what was done.
            obs: what followed.
            env_state: not used.
        """
        return obs.repeat(state.shape[0] // obs.shape[0], 1)

    def step(
        self,
        state: Tensor,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Tensor, Prediction]:
        """Predict one step of state (B, obs_dim) for action (B, act_dim); nothing is drawn.

        Raises:
            BadInput: if a function returns another shape.
        """
        count = state.shape[0]
        after = self._next_obs(state, action)
        _check_shape("next_obs", after, state.shape)
        reward = self._reward(state, action, after)
        _check_shape("reward", reward, (count,))
        never = torch.zeros(count, dtype=torch.bool, device=state.device)
        terminated = never if self._terminated is None else self._terminated(state, action, after)
        _check_shape("terminated", terminated, (count,))
        uncertainty = torch.zeros_like(reward) if with_uncertainty else None
        return after, Prediction(after, reward, terminated, ~never, uncertainty)


def _check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Check what a function returned.

    Raises:
        BadInput: naming the function and the shape.
    """
    if tuple(value.shape) != tuple(shape):
        raise BadInput(f"{name}: returned shape {tuple(value.shape)}, should be {tuple(shape)}")
