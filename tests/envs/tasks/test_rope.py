"""The rope: what physics demands, costs by hand."""

import pytest
import torch

from mbrl.envs.mujoco import threaded_mujoco
from mbrl.envs.tasks import Rope


def test_a_dragged_rope_straightens_and_keeps_its_length():
    task = Rope()
    env = threaded_mujoco(task, num_envs=5, dtype=torch.float64)
    env.reset(3)
    for _ in range(40):
        step = env.step(torch.tensor([[1.0, 0.0]]).expand(5, -1))
    beads = step.next_obs[:, 2:].view(5, 9, 2)
    links = torch.cat([beads[:, :1], beads.diff(dim=1)], 1).norm(dim=2)
    assert links.min() > 2.0 and links.max() < 2.65  # strings of 2.1 to 2.5 cm, nearly rigid
    assert (beads[:, -1, 0] < -18).all() and (beads[:, :, 1].abs() < 2.5).all()  # behind the pusher


@pytest.mark.parametrize("goal", ["line", "arc"])
def test_costs_of_the_rope_by_hand(goal):
    task = Rope(goal)
    target = torch.from_numpy(task._goal)
    links = target.diff(dim=0).norm(dim=1)
    assert links.tolist() == pytest.approx([2.4] * 8, abs=0.05)  # it can be laid out so
    pusher = target[0] + 1
    obs = torch.cat([pusher, (target - pusher).flatten()])[None]
    assert task.task.reward(obs, torch.zeros(1, 2), obs).item() == pytest.approx(0, abs=1e-9)
    assert task.reached(obs).all()
    obs[:, :2] += torch.tensor([2.0, -1.0])  # the whole rope
    assert task.task.reward(obs, torch.zeros(1, 2), obs).item() == pytest.approx(-0.3)
    assert task.miss(obs).item() == pytest.approx(5**0.5) and not task.reached(obs).any()
