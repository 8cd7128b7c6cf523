"""The roles of acting and learning: Agent, OfflineAgent, PolicyLearner, Penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.planners.base import ActionSelector
from mbrl.types import Transitions

EnvState = Callable[[], Tensor | None]  # VecEnv.env_state


@runtime_checkable
class PolicyLearner(Protocol):
    """Improve a policy from real and imagined transitions; an ActionSelector as well."""

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) for obs (B, obs_dim)."""
        ...

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: Any = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Take num_updates steps of learning.

        Args:
            real: transitions of the environment.
            imagined: transitions of the model, None for model-free learning.
            model_env: the model as an environment (mbrl.gym.ImaginedVecEnv), for learners that
                ask for one (ModelEnvLearner).
            num_updates: gradient steps (off-policy) or iterations (on-policy).

        Returns:
            Metrics of the last step.
        """
        ...

    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim) under the policy."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give all that is needed to go on bit for bit."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""
        ...


@runtime_checkable
class ModelEnvLearner(PolicyLearner, Protocol):
    """Collect rollouts inside the model and learn from them (on-policy); a PolicyLearner.

    Attributes:
        num_model_envs: imagined environments that improve() takes as model_env.
    """

    num_model_envs: int


@runtime_checkable
class PlanningSelector(ActionSelector, Protocol):
    """An ActionSelector with randomness and measurements of its own, such as UP-MPC."""

    def metrics(self) -> dict[str, float]:
        """Give what was measured lately; empty before the first choice."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Give all that is needed to go on bit for bit."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""
        ...


class Penalty(Protocol):
    """Say what to take off an imagined reward where the model is in doubt (MOPO, MOBILE)."""

    def __call__(self, transition: Transitions, model: Any, learner: PolicyLearner) -> Tensor:
        """Give the penalty (B,) of imagined transitions."""
        ...


class Actor(ABC):
    """Choose actions; what an evaluation asks of an agent."""

    @abstractmethod
    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose actions (E, act_dim) for obs (E, obs_dim).

        Args:
            obs: what the environments show.
            explore: True in training; False in evaluation, which has an episode memory of its own
                and must draw nothing that training draws from.
            env_state: gives the simulator's state (E, state_dim), for a model that is one.
        """

    @abstractmethod
    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget the episode memory of the environments in done (E,) bool; None = of all.

        Args:
            done: the environments whose episode has ended.
            explore: which memory, as in act.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Give all that is needed to go on bit for bit: nested dicts of tensors and JSON values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""


class Agent(Actor):
    """Act, and learn from the buffer of real transitions; what the training loop drives."""

    @abstractmethod
    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Learn from what was added since the last call; metrics, empty if nothing was due."""


class OfflineAgent(Actor):
    """Learn from a dataset that does not grow; what the offline loop drives."""

    @abstractmethod
    def fit(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Do what comes once, before the first update: fit the model, if there is one."""

    @abstractmethod
    def learn(self, buffer: ReplayBuffer, num_updates: int) -> dict[str, float]:
        """Take num_updates updates of the policy.

        Draws may come in blocks, so that other splits of the same updates may end in other digits;
        the loop splits at the same places in a resumed run.

        Returns:
            Metrics of the last update.
        """
