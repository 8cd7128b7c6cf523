"""A linear model, fitted by ridge regression. A dynamics model of one's own."""

from typing import final

import torch
from torch import Tensor

from mbrl.dynamics import Dynamics
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import NonNegative, checked


@final
class LinearModel(Dynamics):
    """Linear model of the change of obs; its state is obs itself, (B, obs_dim)."""

    weights: Tensor  # (obs_dim + act_dim + 1, obs_dim)

    @checked
    def __init__(self, *, obs_dim: int, action: ActionSpec, task: Task, ridge: NonNegative = 1e-6):
        super().__init__()
        if task.reward is None:
            raise BadInput("task: should state its reward, this model does not learn it")
        self.reward, self.terminated, self.ridge = task.reward, task.terminated, ridge
        self.register_buffer("weights", torch.zeros(obs_dim + action.dim + 1, obs_dim))

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        x = self._inputs(data.obs, data.action).double()
        y = (data.next_obs - data.obs).double()
        gram = x.T @ x + self.ridge * torch.eye(x.shape[1], dtype=x.dtype)
        solution = torch.linalg.solve(gram, x.T @ y)
        self.weights.copy_(solution)
        return {"model/holdout_mse": ((x @ solution - y) / y.std(0)).square().mean().item()}

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs.repeat(num_particles, 1)

    def observe(self, state, action, obs, env_state=None):
        return obs.repeat(state.shape[0] // obs.shape[0], 1)

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        next_obs = state + self._inputs(state, action) @ self.weights
        never = torch.zeros(len(state), dtype=torch.bool)
        ended = self.terminated(state, action, next_obs) if self.terminated else never
        reward = self.reward(state, action, next_obs)
        return next_obs, Prediction(next_obs, reward, ended, ~never, None)

    def uncertainty(self, obs, action):
        raise BadInput("LinearModel predicts no uncertainty")

    @staticmethod
    def _inputs(obs: Tensor, action: Tensor) -> Tensor:
        return torch.cat([obs, action, torch.ones_like(obs[:, :1])], 1)
