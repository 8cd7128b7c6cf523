"""The true simulator as a model: the belief is the simulator's own state, nothing is learned."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.roles import Dynamics, SimulatesFromState
from mbrl.types import Prediction, Transitions


class Simulator(Dynamics):
    """Roll out copies of the environment itself, exactly, on data apart from its own.

    A planner's action sequences are simulated whole, in one call (`simulate`), and scored by the
    environment's own equations. A simulation that blows up is marked invalid, charged at once and
    warned of, so that a plan avoids it; up to then it counts as it is.

    Args:
        env: the environment; what it plans for may be other copies of it.
        blow_up_cost: taken as reward, negative, at the step in which a simulation blows up.

    Raises:
        BadInput: if the environment has no simulator.
    """

    learned = False

    def __init__(self, *, env: SimulatesFromState, blow_up_cost: float = 1e6):
        """Take the environment; it is asked for rollouts alone and never stepped."""
        super().__init__()
        if not isinstance(env, SimulatesFromState):
            raise BadInput(
                f"dynamics=simulator: {type(env).__name__} has no simulator; take an "
                "environment of the framework's own (env=pendulum, env=hopper, ...) or a learned "
                "model (dynamics=ensemble)"
            )
        self._env = env
        self._blow_up_cost = blow_up_cost
        self._warned = False

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit nothing and report nothing: no error was measured, and none is left to reduce."""
        return {}

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Begin with rows of unknown state, width 0: observe has to bring it."""
        return obs.new_empty(num_particles * obs.shape[0], 0, dtype=torch.float64)

    def observe(
        self, state: Tensor, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Tensor:
        """Replace state (P * B, state_dim) by the simulator's env_state (B, state_dim)."""
        if env_state is None:
            return self.initial(obs, num_particles=state.shape[0] // obs.shape[0])
        return env_state.repeat(state.shape[0] // obs.shape[0], 1)

    def step(
        self,
        state: Tensor,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Tensor, Prediction]:
        """Simulate one step from state (B, state_dim) of the simulator; the uncertainty is 0.

        A row that blows up keeps its state.
        """
        self._require(state)
        seen, following = self._env.simulate(state, action[:, None], with_state=True)
        assert following is not None
        doubt = torch.zeros_like(seen.reward[:, 0]) if with_uncertainty else None
        seen = self._charge(seen)
        parts: list[Any] = [part[:, 0] for part in seen[:4]]
        prediction = Prediction(parts[0], parts[1], parts[2], parts[3], doubt)
        return torch.where(prediction.valid[:, None], following, state), prediction

    def simulate(self, state: Tensor, actions: Tensor) -> Prediction:
        """Simulate actions (B, H, act_dim) from state (B, state_dim): predict (B, H, ...)."""
        self._require(state)
        return self._charge(self._env.simulate(state, actions)[0])

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return zeros (B,) for obs (B, obs_dim), action (B, act_dim): the simulator is exact."""
        return torch.zeros_like(obs[:, 0])

    def _require(self, state: Tensor) -> None:
        """Refuse a belief that was never given the simulator's state."""
        if state.shape[1] == 0:
            raise BadInput(
                "dynamics=simulator: an observation does not say what state the simulator is in; "
                "pass env.env_state() to act() or observe(), or plan with a learned model"
            )

    def _charge(self, seen: Prediction) -> Prediction:
        """Make what has blown up finite: zeros, and the cost in the first such step."""
        valid = seen.valid
        if valid.all():
            return seen
        first = ~valid & torch.cat([torch.ones_like(valid[:, :1]), valid[:, :-1]], 1)
        if not self._warned:
            self._warned = True
            rows, steps = torch.nonzero(first, as_tuple=True)
            warnings.warn(
                f"dynamics=simulator: {len(rows)} of {len(valid)} imagined sequences blew up, the "
                f"earliest in step {int(steps.min()) + 1}; each is charged {self._blow_up_cost:g}",
                stacklevel=3,
            )
        cost = torch.where(first, -self._blow_up_cost, 0.0).to(seen.reward.dtype)
        return seen._replace(
            next_obs=torch.where(valid[:, :, None], seen.next_obs, 0),
            reward=torch.where(valid, seen.reward, cost),
            terminated=seen.terminated & valid,
        )
