"""Role of a model that can be planned with exactly: a ReLU network and a convex cost."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mbrl.relu import PiecewiseLinearCost, ReluNetwork
from mbrl.types import Prediction


@runtime_checkable
class PiecewiseLinearModel(Protocol):
    """A Model whose mean prediction is a ReLU network, and whose reward is minus a convex cost.

    Its state is that of the network (B, obs_dim): obs, and whatever else is fixed when a plan
    starts; or a tuple with such an `obs`.

    Attributes:
        cost: of [outputs, action], where outputs are the next state, then a learned reward if any.
    """

    cost: PiecewiseLinearCost

    def network(self) -> ReluNetwork:
        """Return the mean prediction in float64, raw units."""
        ...


class Exact:
    """PiecewiseLinearModel: a network and its cost, in float64 so that plans are scored alike.

    Args:
        network: the mean prediction.
        cost: of it.
    """

    def __init__(self, network: ReluNetwork, cost: PiecewiseLinearCost):
        """Store both; nothing is copied."""
        self._network, self.cost = network, cost

    def network(self) -> ReluNetwork:
        """Return the network."""
        return self._network

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the state at obs (B, obs_dim)."""
        return obs.double().repeat(num_particles, 1)

    def observe(
        self, state: Tensor, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Tensor:
        """Return the state at obs (B, obs_dim), after a real step."""
        return obs.double().repeat(state.shape[0] // obs.shape[0], 1)

    def step(
        self,
        state: Tensor,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Tensor, Prediction]:
        """Predict one step; no noise is drawn."""
        action = action.double()
        out = self._network.evaluate(torch.cat([state, action], 1))
        never = torch.zeros(out.shape[0], dtype=torch.bool)
        following = out[:, : self._network.obs_dim]
        reward = -self.cost.step(out, action)
        return following, Prediction(following, reward, never, ~never, None)

    def terminal_value(self, obs: Tensor) -> Tensor:
        """Return minus the terminal cost (B,) of obs (B, obs_dim)."""
        return -self.cost.last(obs)


def obs_of(state: Any) -> Tensor:
    """Return the observations (B, obs_dim) of a Markov model's state."""
    return state if isinstance(state, Tensor) else state.obs
