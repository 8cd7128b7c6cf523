"""Exploration of pushing moves the slider, at all speeds."""

import pytest
import torch

from mbrl.envs import policies, tasks
from mbrl.envs.policies import Nudge
from tests.envs.tasks.scene import make_push as make
from tests.toys import generator


def test_nudging_knows_slow_pushes():
    task, env = make(num_envs=200)
    obs, draws = env.reset(3), generator(1)
    slow = []
    for _ in range(20):
        action = Nudge(task.task).select(obs, generator=draws)
        near = (obs[:, :2].norm(dim=1) < 6.5 + 3) & (obs[:, 2:4].norm(dim=1) < 12)
        slow.append(action[near].norm(dim=1))
        obs = env.step(action).obs
    speeds = torch.cat(slow)
    assert len(speeds) > 500 and 0.07 < (speeds < 0.1).double().mean() < 0.13


@pytest.mark.parametrize("shape", ["disc", "box"])
def test_nudging_moves_the_slider(shape):
    task, env = make(num_envs=20, shape=shape)
    obs, draws, selector = env.reset(3), generator(1), Nudge(task.task)
    moved = []
    for _ in range(60):
        step = env.step(selector.select(obs, generator=draws))
        moved.append((step.next_obs[:, 2:4] - obs[:, 2:4]).norm(dim=1) > 0.05)
        obs = step.obs
    assert torch.stack(moved).double().mean() > 0.4


def test_far_from_the_goal_the_slider_is_mostly_pushed_back():
    """From far away, in a straight line with the goal: 70% of the choices follow the script."""
    task, _ = make()
    obs = torch.tensor([[8.0, 0.0, 30.0, 0.0]], dtype=torch.float64).repeat(400, 1)
    back = Nudge(task.task, home=12.0).select(obs, generator=generator(1))
    free = Nudge(task.task, home=99.0).select(obs, generator=generator(1))
    same = (back == free).all(1).double().mean().item()
    assert same == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("name", ["Nudge", "NudgePucks", "ScriptedPush"])
def test_the_former_place_of_the_policies_still_works_with_a_warning(name):
    with pytest.warns(DeprecationWarning, match=f"mbrl.envs.tasks.{name} is now"):
        former = getattr(tasks, name)
    assert former is getattr(policies, name)
