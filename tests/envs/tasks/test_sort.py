"""Sorting: what physics demands, costs and edges by hand."""

import pytest
import torch

from mbrl.envs.mujoco import threaded_mujoco
from mbrl.envs.tasks import Sort
from mbrl.envs.tasks.sort import BINS, law
from tests.envs.tasks.scene import place


def test_a_puck_passes_a_push_on_to_the_next():
    env = threaded_mujoco(Sort(), dtype=torch.float64)
    place(env, [-0.05, 0, 0, 0, 0.06, 0, 0, 0.2, 0, -0.2])
    for _ in range(4):
        step = env.step(torch.tensor([[1.0, 0.0]]))
    pusher, first, second, *others = step.next_obs[0].view(-1, 2)
    assert first[0] - pusher[0] == pytest.approx(3.5, abs=0.1)  # radii of 1.5 and 2 cm
    assert second[0] - first[0] == pytest.approx(4, abs=0.1) and second[0] > 9
    assert torch.stack(others).tolist() == [[0, 20], [0, -20]]


def test_costs_of_sorting_by_hand():
    task = Sort(shaping=0.0)
    places = torch.from_numpy(BINS).clone()
    obs = torch.cat([torch.zeros(2), places.flatten()])[None]
    rest = torch.zeros(1, 2)
    assert task.reward(obs, rest, obs).item() == 0 and task.reached(obs).all()
    obs[0, 2] += 5  # a centimetre out of the bin
    assert task.reward(obs, rest, obs).item() == pytest.approx(-0.1)
    assert task.sorted(obs).item() == 3 and not task.reached(obs).any()


def test_the_pusher_is_led_behind_the_farthest_puck_and_then_past_it():
    task = Sort()
    obs = torch.tensor([[0.0, -15, -12, 0, -12, 0, 12, 0, 0, 0]])
    assert task.anchors(obs)[0].tolist() == pytest.approx([-4, 0])  # puck 3 has to go right
    obs[0, :2] = torch.tensor([-3.6, 0.0])
    assert task.anchors(obs)[0].tolist() == pytest.approx([0, 0], abs=1e-6)
    obs[0, :2] = torch.tensor([-8.0, 0.0])  # behind it, but far
    assert task.anchors(obs)[0].tolist() == pytest.approx([-4, 0])
    obs[0, :2] = torch.tensor([-3.6, 0.0])
    obs[0, 8] = 9  # within its bin, like all the others: nothing is to be touched any more
    assert task.anchors(obs)[0].tolist() == pytest.approx([-3.6, 0])


def test_crossing_pucks_begin_on_the_wrong_side():
    env = threaded_mujoco(Sort(crossing=True), num_envs=20, dtype=torch.float64)
    places = env.reset(1)[:, 2:].view(20, 4, 2)
    assert (torch.sign(places[:, :, 0]) == -torch.sign(torch.from_numpy(BINS[:, 0]))).all()
    gaps = (places[:, :, None] - places[:, None]).norm(dim=-1) + 99 * torch.eye(4)
    assert gaps.min() > 4  # none inside another


def test_the_edges_of_sorting_say_who_touches_whom():
    pushed, passed_on = law()
    assert pushed.inputs.shape == (4, 4, 12) and pushed.outputs.shape == (4, 10, 4)
    assert passed_on.inputs.shape == (12, 6, 12) and passed_on.outputs.shape == (12, 10, 2)
    x = torch.arange(12.0)
    assert (pushed.inputs[1] @ x).tolist() == [0 - 4, 1 - 5, 10, 11]
    assert (passed_on.inputs[0] @ x).tolist() == [2 - 4, 3 - 5, 0 - 4, 1 - 5, 10, 11]
    assert pushed.outputs[1].nonzero()[:, 0].tolist() == [0, 1, 4, 5]
