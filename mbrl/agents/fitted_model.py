"""A model that was fitted to recorded runs, in the place of an agent: it has no policy."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator
from mbrl.roles import Actor, Dynamics
from mbrl.types import ActionSpec, Transitions


@final
class FittedModel(Actor):
    """Model of a run folder, for planners and agents that are made from Python.

    Args:
        action: the actions that were recorded.
        dynamics: the model.
        generator: source of the fit's randomness.

    Attributes:
        dynamics: the model.
    """

    def __init__(self, *, action: ActionSpec, dynamics: Dynamics, generator: torch.Generator | int):
        """Store the model."""
        self.device = action.low.device
        self.dynamics = dynamics
        self._generator = as_generator(generator, self.device)

    def fit(self, data: Transitions) -> dict[str, float]:
        """Fit the model to transitions (B, ...); return its metrics."""
        return self.dynamics.fit(data, generator=self._generator)

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Raise BadInput: there is no policy.

        Args:
            obs: (E, obs_dim).
            explore: of no effect.
            env_state: of no effect.

        Raises:
            BadInput: always: there is no policy.
        """
        raise BadInput("this run is a fitted model without a policy; plan in it: .agent.dynamics")

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: there is no episode memory."""

    def state_dict(self) -> dict[str, Any]:
        """Return the model's state."""
        return {"dynamics": self.dynamics.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.dynamics.load_state_dict(state["dynamics"])
