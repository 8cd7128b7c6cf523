"""Plan with iCEM through a dynamics function that you wrote yourself."""

import torch

from mbrl import ActionSpec, dynamics, planners


def move(obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Return position and velocity after a step of 0.1 s under a force."""
    velocity = obs[:, 1] + 0.1 * action[:, 0]
    return torch.stack([obs[:, 0] + 0.1 * velocity, velocity], 1)


model = dynamics.FunctionModel(move, lambda obs, action, next_obs: -next_obs.square().sum(1))
planner = planners.ICEM(action=ActionSpec.box(-1, 1), horizon=20, num_samples=100, num_elites=10)
obs, plan = torch.tensor([[1.0, 0.0]]), None
for seed in range(60):
    plan = planner.plan(model.initial(obs), model, generator=seed, previous=plan)
    obs = move(obs, plan.actions[:, 0])
print("position and velocity after 60 steps:", obs)
