"""The role of a learned dynamics model: a Model (planners/base.py) that can be fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.errors import BadInput
from mbrl.types import Prediction, Transitions


class Dynamics(nn.Module, ABC):
    """Predict next_obs, reward, termination and validity of a step; satisfies Model.

    Attributes:
        learned: False if there is nothing to fit and a belief needs the simulator's state, which
            no stored observation holds.
    """

    learned: bool = True

    @abstractmethod
    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data so far, starting from the last fit.

        Args:
            data: transitions (B, ...), rows of an episode in time order.
            generator: source of every random draw.

        Returns:
            Metrics, among them a holdout error.

        Raises:
            NumericalFault: if the loss is not finite.
        """

    @abstractmethod
    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Any:
        """Begin a belief at obs (B, obs_dim): num_particles * B rows, particle by particle."""

    @abstractmethod
    def observe(
        self, state: Any, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Any:
        """Take in a real step; see Model.observe."""

    @abstractmethod
    def step(
        self,
        state: Any,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Any, Prediction]:
        """Predict one step for action (B, act_dim); without a generator no noise is drawn."""

    @abstractmethod
    def candidates(
        self, state: Any, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Any, Prediction]:
        """Offer num successors of each row; see Model.candidates."""

    @torch.no_grad()
    def doubt(self, obs: Tensor, action: Tensor) -> Tensor:
        """Give the uncertainty (B,) of a step from obs (B, obs_dim) by action (B, act_dim).

        Raises:
            BadInput: if the model gives none.
        """
        found = self.step(self.initial(obs), action, with_uncertainty=True)[1].uncertainty
        if found is None:
            raise BadInput(f"{type(self).__name__} gives no uncertainty; choose dynamics=ensemble")
        return found
