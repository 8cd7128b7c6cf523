"""The role of an environment: many copies stepped at once, tensors in and out."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mbrl.types import ActionSpec, Task


class VecStep(NamedTuple):
    """The outcome of one step of E environments; those that ended were reset in the same step."""

    obs: Tensor  # (E, obs_dim) to act on next: after autoreset
    next_obs: Tensor  # (E, obs_dim) the true successor, also at an episode's end
    reward: Tensor  # (E,)
    terminated: Tensor  # (E,) bool
    truncated: Tensor  # (E,) bool


class VecEnv(Protocol):
    """Step E copies of one environment.

    One with a simulator may also offer unroll(state, action, with_state=False): what would follow
    from states of env_state(); see SimulatedVecEnv.unroll. dynamics=simulator asks for it.

    Attributes:
        num_envs: E.
        obs_dim: length of an observation.
        action: the actions it takes.
        task: what is known of it in closed form.
        device: where its tensors live.
        max_episode_steps: when an episode is truncated, None if never.
    """

    num_envs: int
    obs_dim: int
    action: ActionSpec
    task: Task
    device: torch.device
    max_episode_steps: int | None

    def reset(self, seed: int | None = None) -> Tensor:
        """Start new episodes; environment i is seeded with seed + i, as in gymnasium.

        Returns:
            obs (E, obs_dim).
        """
        ...

    def step(self, action: Tensor) -> VecStep:
        """Take one step with actions (E, act_dim) in environment units.

        Raises:
            EnvironmentFault: on a NaN, an infinity, an exception or a hang, with index and step.
        """
        ...

    def env_state(self) -> Tensor | None:
        """Give the simulator's full state (E, state_dim), None where there is none."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give all that is needed to go on bit for bit: tensors and JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""
        ...

    def close(self) -> None:
        """Free threads, windows and processes."""
        ...
