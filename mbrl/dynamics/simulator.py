"""The environment's own simulator as a model."""

from __future__ import annotations

import warnings
from typing import Any, Literal, final

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator
from mbrl.roles import Dynamics, HasPhysicalParameters, SimulatesFromState
from mbrl.types import Prediction, Transitions
from mbrl.values import NonNegative, checked


@final
class Simulator(Dynamics):
    """The environment's simulator as a model: exact, nothing is learned.

    Its state is the simulator's. Planners' action sequences are simulated in one call (`simulate`),
    apart from the running episodes. From the step in which a simulation blows up it is invalid; the
    first such step costs blow_up_cost, so that plans avoid it.

    Where episodes differ in physical parameters (`randomize` of the environment), the running
    episode's own are part of its state. A controller of a real system does not have them:
    `parameters` says which ones are planned with.

    Args:
        env: an environment with a simulator; the one that is planned for, or a copy of it.
        parameters: physical parameters that predictions have:
            "episode": those of the running episode.
            "nominal": those of the model itself.
            "drawn": each particle's own, drawn once from the environment's ranges, so that a plan
                is one for all of them. The planner needs num_particles of more than 1.
        generator: source of the draws, or a seed.
        blow_up_cost: cost of the step in which a simulation blows up.

    Raises:
        BadInput: if the environment has no simulator or no parameters to draw, or for a value out
            of range.
    """

    learned = False

    @checked
    def __init__(
        self,
        *,
        env: SimulatesFromState,
        parameters: Literal["episode", "nominal", "drawn"] = "episode",
        generator: torch.Generator | int = 0,
        blow_up_cost: NonNegative = 1e6,
    ):
        """Store the environment, which is never stepped."""
        super().__init__()
        if not isinstance(env, SimulatesFromState):
            raise BadInput(
                f"env: {type(env).__name__} has no simulator; should be an environment of this "
                "package, such as pendulum, or hopper with backend=threads, or the model should be "
                "learned, such as GaussianEnsemble"
            )
        if parameters != "episode" and not (
            isinstance(env, HasPhysicalParameters) and env.num_parameters
        ):
            raise BadInput(
                f"parameters={parameters}: the environment has the same physics in each episode; "
                "should be episode, or the environment have randomize, such as "
                "{body_mass: [0.8, 1.2]}"
            )
        self._env = env
        self._whose = parameters
        self._seed = as_generator(generator).initial_seed()
        self._blow_up_cost = blow_up_cost
        self._warned = False

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Return no metrics: there is nothing to fit."""
        return {}

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return num_particles * B rows of width 0 for obs (B, obs_dim): observe adds the state."""
        return obs.new_empty(num_particles * obs.shape[0], 0, dtype=torch.float64)

    def observe(
        self, state: Tensor, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Tensor:
        """Return env_state (B, state_dim) of the simulator for each particle: (P * B, state_dim).

        Args:
            state: not used (P * B, state_dim).
            action: not used (B, act_dim).
            obs: (B, obs_dim).
            env_state: (B, state_dim); None leaves the state unknown.

        Raises:
            BadInput: if one particle alone has drawn parameters.
        """
        if env_state is None:
            return self.initial(obs, num_particles=state.shape[0] // obs.shape[0])
        num_particles = state.shape[0] // obs.shape[0]
        env_state = env_state.repeat(num_particles, 1)
        env = self._env
        if self._whose == "episode" or not isinstance(env, HasPhysicalParameters):
            return env_state
        if self._whose == "nominal":
            nominal = env.nominal_parameters()
            return env.with_parameters(env_state, nominal.expand(len(env_state), -1))
        if num_particles == 1:
            raise BadInput(
                "parameters=drawn: needs num_particles of more than 1 in the planner, each with "
                "parameters of its own"
            )
        draws = torch.Generator().manual_seed(self._seed)  # the same in every plan
        drawn = env.draw_parameters(num_particles, generator=draws)
        return env.with_parameters(env_state, drawn.repeat_interleave(len(obs), dim=0))

    def step(
        self,
        state: Tensor,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Tensor, Prediction]:
        """Simulate one step from state (B, state_dim) by action (B, act_dim); the uncertainty is 0.

        A row that blows up keeps its state.
        """
        self._require(state)
        simulated, following = self._env.simulate(state, action[:, None], with_state=True)
        assert following is not None
        uncertainty = torch.zeros_like(simulated.reward[:, 0]) if with_uncertainty else None
        parts: list[Any] = [part[:, 0] for part in self._charge(simulated)[:4]]
        prediction = Prediction(parts[0], parts[1], parts[2], parts[3], uncertainty)
        return torch.where(prediction.valid[:, None], following, state), prediction

    def simulate(self, state: Tensor, actions: Tensor) -> Prediction:
        """Simulate actions (B, H, act_dim) from state (B, state_dim): (B, H, ...)."""
        self._require(state)
        return self._charge(self._env.simulate(state, actions)[0])

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return zeros (B,) at obs (B, obs_dim), action (B, act_dim): the simulator is exact."""
        return torch.zeros_like(obs[:, 0])

    def _require(self, state: Tensor) -> None:
        """Raise BadInput if the simulator's state is unknown."""
        if state.shape[1] == 0:
            raise BadInput(
                "env_state: an observation does not determine the simulator's state; call "
                "predict(obs, env_state=env.env_state()), or "
                "act(obs, explore=False, env_state=env.env_state()); or plan with a learned model"
            )

    def _charge(self, simulated: Prediction) -> Prediction:
        """Return a prediction with zeros and the cost in place of what has blown up."""
        valid = simulated.valid
        if valid.all():
            return simulated
        first = ~valid & torch.cat([torch.ones_like(valid[:, :1]), valid[:, :-1]], 1)
        if not self._warned:
            self._warned = True
            rows, steps = torch.nonzero(first, as_tuple=True)
            warnings.warn(
                f"Simulator: {len(rows)} of {len(valid)} imagined sequences blew up, the earliest "
                f"in step {int(steps.min()) + 1}; each costs {self._blow_up_cost:g}",
                stacklevel=3,
            )
        cost = torch.where(first, -self._blow_up_cost, 0.0).to(simulated.reward.dtype)
        return simulated._replace(
            next_obs=torch.where(valid[:, :, None], simulated.next_obs, 0),
            reward=torch.where(valid, simulated.reward, cost),
            terminated=simulated.terminated & valid,
        )
