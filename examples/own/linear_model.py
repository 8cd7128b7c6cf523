"""A linear model, fitted by ridge regression. A dynamics model of one's own."""

from typing import final

import torch
from torch import Tensor

from mbrl.dynamics import Belief, MarkovDynamics, complete_prediction
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Task, Transitions
from mbrl.values import NonNegative, checked


@final
class LinearModel(MarkovDynamics):
    """Linear model of the change of obs."""

    weights: Tensor  # (obs_dim + act_dim + 1, obs_dim)

    @checked
    def __init__(self, *, obs_dim: int, action: ActionSpec, task: Task, ridge: NonNegative = 1e-6):
        super().__init__()
        if task.reward is None:
            raise BadInput("task: should state its reward, this model does not learn it")
        self.task, self.ridge = task, ridge
        self.register_buffer("weights", torch.zeros(obs_dim + action.dim + 1, obs_dim))

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        x = self._inputs(data.obs, data.action).double()
        y = (data.next_obs - data.obs).double()
        gram = x.T @ x + self.ridge * torch.eye(x.shape[1], dtype=x.dtype)
        solution = torch.linalg.solve(gram, x.T @ y)
        self.weights.copy_(solution)
        return {"model/holdout_mse": ((x @ solution - y) / y.std(0)).square().mean().item()}

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        next_obs = state.obs + self._inputs(state.obs, action) @ self.weights
        prediction = complete_prediction(self.task, state.obs, action, next_obs)
        return Belief(prediction.next_obs, state.members), prediction

    @staticmethod
    def _inputs(obs: Tensor, action: Tensor) -> Tensor:
        return torch.cat([obs, action, torch.ones_like(obs[:, :1])], 1)
