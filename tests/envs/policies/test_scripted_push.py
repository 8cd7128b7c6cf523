"""The script pushes the slider to its goal."""

import pytest
import torch

from mbrl.envs.policies import ScriptedPush
from tests.envs.tasks.scene import make_push as make
from tests.toys import generator


@pytest.mark.parametrize("shape", ["disc", "box"])
def test_a_scripted_push_gets_there(shape):
    task, env = make(num_envs=20, shape=shape)
    obs, draws, selector = env.reset(3), generator(1), ScriptedPush(task.task)
    for _ in range(60):
        step = env.step(selector.select(obs, generator=draws))
        obs = step.obs
    assert task.reached(step.next_obs).double().mean() > 0.8


def test_it_stands_still_once_the_slider_has_arrived_and_goes_round_it_before():
    task, _ = make()
    script, draws = ScriptedPush(task.task, 20), generator(1)
    arrived = torch.tensor([[7.5, 0.0, 0.5, 0.0]], dtype=torch.float64)
    assert script.select(arrived, generator=draws).abs().max() == 0
    behind = torch.tensor([[6.5, 0.0, 10.0, 0.0]], dtype=torch.float64)  # the goal is to the left
    assert script.select(behind, generator=draws)[0].tolist() == pytest.approx([-1, 0])
    before = torch.tensor([[-6.5, 0.1, 10.0, 0.0]], dtype=torch.float64)
    action = script.select(before, generator=draws)[0]
    assert action[1].abs() > 0.6 and action.norm().item() == pytest.approx(1)
