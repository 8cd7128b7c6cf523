"""Find the equations of motion of a pendulum in 200 random steps."""

import torch

import mbrl
from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy import RegressionSettings
from mbrl.dynamics.sindy.equations import equations
from mbrl.types import Transitions

env = mbrl.make_vec("Pendulum-v1", num_envs=4, seed=0)
generator = torch.Generator().manual_seed(0)
obs, rows = env.reset(), []
for _ in range(50):
    action = env.action.sample(4, generator=generator)
    step = env.step(action)
    flags = step.terminated, step.truncated
    rows.append(Transitions(obs, action, step.reward, step.next_obs, *flags, torch.arange(4)))
    obs = step.obs
data = Transitions(*(torch.cat(column) for column in zip(*rows, strict=True)))

model = SINDy(
    obs_dim=env.obs_dim,
    action=env.action,
    task=env.task,
    structured=True,  # regress the speed; the angle turns by it
    regression=RegressionSettings(limits={"speed": [-7.99, 7.99]}),  # it is clipped at 8
)
metrics = model.fit(data, generator=generator)
print({name: round(value, 6) for name, value in metrics.items()})
print("the truth:", env.task.equations)
for equation in equations(model):
    print("found:    ", equation.text(4))
