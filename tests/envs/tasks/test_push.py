"""Pushing: what physics and symmetry demand."""

import math

import numpy as np
import pytest
import torch

from mbrl.config import compose
from mbrl.envs.tasks import Push
from mbrl.errors import BadInput
from tests.envs.tasks.scene import make_push as make
from tests.envs.tasks.scene import place


def drive(env, actions):
    return torch.stack([env.step(a.expand(env.num_envs, -1)).next_obs for a in actions], 1)


@pytest.mark.parametrize("shape", ["disc", "box"])
def test_a_central_push_moves_the_slider_with_the_pusher_and_leaves_it_where_it_stops(shape):
    _, env = make(shape=shape)
    place(env, [-0.085, 0, 0, 0, 0])
    path = drive(env, torch.tensor([[1.0, 0.0]]).repeat(10, 1))[0]
    # 2 cm free; against 1.76 N the drive, 300 N s/m, goes 0.6 cm/s slower; nothing goes aside
    assert path[-1, 2].item() == pytest.approx(10 * 2 - 9 * 0.06 - 2, abs=0.2)
    assert path[:, [1, 3]].abs().max() < 1e-6
    assert path[4:, 0].tolist() == pytest.approx([-6.5] * 6, abs=0.05)  # in touch
    rest = drive(env, torch.zeros(4, 2))[0]
    coasted = rest[-1, 2] - path[-1, 2]
    # v^2 / (2 mu g) with friction force 1.76 N on 0.3 kg, and the pusher's own way to a stop
    assert 0.2 < coasted < 0.6
    assert (rest[-1, 2] - rest[-2, 2]).abs() < 1e-6  # dry friction holds it


def test_friction_hardly_depends_on_the_direction():
    task, env = make(num_envs=8)
    angle = np.linspace(0, math.pi / 2, 8)
    ways = np.stack([np.cos(angle), np.sin(angle)], 1)
    place(env, np.concatenate([-0.3 * ways, np.zeros((8, 3))], 1))
    state = env.simulation.get_state()
    nq = env.simulation.model.nq
    state[:, 1 + nq + 2 : 1 + nq + 4] = 0.5 * ways  # after time and qpos: the slider's qvel
    env.simulation.set_state(state)
    coasted = drive(env, torch.zeros(4, 2))[:, -1, 2:4].norm(dim=1)
    assert coasted.min() > 1.5 and coasted.max() / coasted.min() < 1.05


@pytest.mark.parametrize("goal", ["position", "pose"])
def test_a_box_sees_and_acts_in_its_own_frame(goal):
    """Turned as a whole about the goal, a scene looks the same and takes the same course."""
    _, env = make(shape="box", goal=goal, num_envs=2)
    turn = math.pi / 4  # the friction has eight directions
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    pusher, slider = np.array([-0.09, 0.02]), np.array([0.05, -0.08])
    scene = [*(pusher + slider), *slider, 0.3]
    turned = [*(matrix @ (pusher + slider)), *(matrix @ slider), 0.3 + turn]
    place(env, np.array([scene, turned]))
    actions = torch.tensor([[0.9, -0.1], [1.0, -0.2], [0.8, 0.3], [0.5, 0.9]]).repeat(3, 1)
    path = drive(env, actions)
    assert (path[0, -1, 2:4] - path[0, 0, 2:4]).norm() > 5  # it was pushed
    torch.testing.assert_close(path[0, :, :4], path[1, :, :4], atol=1e-6, rtol=0)
    if goal == "pose":
        torch.testing.assert_close(path[0, :, 4], path[1, :, 4] - turn, atol=1e-6, rtol=0)
        assert (path[0, :, 4] - 0.3).abs().max() > 0.05


def test_nothing_passes_through_the_wall():
    _, env = make(obstacle=True)
    place(env, [0.30, 0, 0.22, 0, 0])
    path = drive(env, torch.tensor([[-1.0, 0.0]]).repeat(15, 1))[0]
    assert path[-1, 2] > 10 + 5 + 1 - 0.3  # the disc is held off by its radius and the wall's


def test_costs_by_hand():
    task, env = make(shape="box", goal="pose", shaping=0.5)
    obs = torch.tensor([[3.0, -4.0, 6.0, 0.0, 0.2]])
    following = torch.tensor([[3.0, -4.0, 5.0, -1.0, 0.1]])
    assert task.anchors(obs).tolist() == [pytest.approx([6.5, -1.6])]  # turned back by 0.2 * 8
    cost = 0.1 * (5 + 1 + 8 * 0.1) + 0.5 * 0.1 * (3.5 + 2.4)
    assert task.reward(obs, torch.zeros(1, 2), following).item() == pytest.approx(-cost)
    plain = Push(shaping=0.0)
    assert plain.reward(obs[:, :4], torch.zeros(1, 2), following[:, :4]).item() == pytest.approx(
        -0.6
    )
    assert task.reached(torch.tensor([[9, 9, 1.9, 0, 0.1], [9, 9, 1.9, 0, 0.3]])).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize("goal", ["position", "pose"])
def test_a_slider_that_has_arrived_is_left_alone(goal):
    task, _ = make(shape="box", goal=goal)
    obs = torch.tensor([[3.0, -6.0, 0.9, 0.0, 0.0], [3.0, -6.0, 1.1, 0.0, 0.0]])
    turned = torch.tensor([[3.0, -6.0, 0.9, 0.0, 0.15]])
    obs, turned = (obs, turned) if goal == "pose" else (obs[:, :4], turned[:, :4])
    rest, behind = task.anchors(obs)
    assert behind[0] == pytest.approx(6.5)
    assert rest[0] / rest[1] == pytest.approx(-0.5)  # on the side where it stands
    gap = rest * (1 - 2.5 / rest.norm())  # less the pusher and a centimetre
    assert gap.abs().max() == pytest.approx(5)  # the box's face
    assert (task.anchors(turned)[0, 0] < 5) == (goal == "position")  # its angle is still off


def test_half_the_starts_are_on_the_wrong_side():
    task, env = make(num_envs=400)
    obs = env.reset(5)
    behind = (obs[:, :2] * obs[:, 2:4]).sum(1) > 0
    assert 0.4 < behind.double().mean() < 0.6
    distance = obs[:, 2:4].norm(dim=1)
    assert distance.min() > 8 and distance.max() < 20
    assert (obs[:, :2].norm(dim=1) > 6.5).all()


def test_a_disc_has_no_pose():
    with pytest.raises(BadInput, match="shape=box"):
        Push(goal="pose")
    assert compose(["env=push_box_pose", "agent=random"]).config["env"]["task"]["goal"] == "pose"
