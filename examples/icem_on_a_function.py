"""Plan with iCEM through a dynamics function that you wrote yourself."""

import torch

from mbrl.planners import ICEM
from mbrl.types import ActionSpec, Prediction


class DoubleIntegrator:
    """Model: position and velocity under a force; the state is the observation."""

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs.repeat(num_particles, 1)

    def observe(self, state, action, obs, env_state=None):
        return obs

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        velocity = state[:, 1] + 0.1 * action[:, 0]
        after = torch.stack([state[:, 0] + 0.1 * velocity, velocity], 1)
        reward = -after.square().sum(1)
        never = torch.zeros(len(after), dtype=torch.bool)
        return after, Prediction(after, reward, never, ~never, None)


model = DoubleIntegrator()
spec = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([1.0]))
planner = ICEM(action=spec, horizon=20, num_samples=100, num_elites=10, num_iterations=5)
generator = torch.Generator().manual_seed(0)
obs, plan = torch.tensor([[1.0, 0.0]]), None
for _ in range(60):
    plan = planner.plan(model.initial(obs), model, generator=generator, previous=plan)
    obs, _ = model.step(obs, plan.actions[:, 0])
print("position and velocity after 60 steps:", obs)
