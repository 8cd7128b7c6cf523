"""Sorting, the rope and the piecewise-affine toy: known answers."""

import numpy as np
import pytest
import torch

from mbrl.envs import piecewise_affine
from mbrl.envs.mujoco import threaded_mujoco
from mbrl.envs.policies import NudgePucks
from mbrl.envs.tasks import Rope, Sort
from mbrl.envs.tasks.piecewise_affine import headwind
from mbrl.envs.tasks.sort import BINS, law
from tests.toys import generator


def place(env, qpos):
    env.reset(0)
    simulation = env.simulation
    state = np.zeros((env.num_envs, simulation._layout.size))
    state[:, simulation._layout._qpos] = qpos
    simulation.set_state(state)


# ---- sort --------------------------------------------------------------------------------------


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


def test_nudging_moves_pucks():
    env, draws = threaded_mujoco(Sort(), num_envs=10), generator(1)
    obs, selector = env.reset(2), NudgePucks()
    moved = []
    for _ in range(30):
        step = env.step(selector.select(obs, generator=draws))
        moved.append((step.next_obs[:, 2:] - obs[:, 2:]).abs().amax(1) > 0.1)
        obs = step.obs
    assert torch.stack(moved).double().mean() > 0.4


# ---- rope --------------------------------------------------------------------------------------


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


# ---- the piecewise-affine toy ------------------------------------------------------------------


def test_the_headwind_by_hand():
    env = piecewise_affine(dtype=torch.float64)
    simulation, rest = env.simulation, torch.zeros(1, 2)
    env.reset(0)

    def follows(x, y, action):
        simulation.set_state(np.array([[x, y, 1.5, 0.0]]))
        return env.step(action).next_obs[0].tolist()

    assert follows(0, 0, rest) == pytest.approx([-0.4, 0, 1.5, 0])  # the wind at its strongest
    assert follows(-0.5, 0, rest) == pytest.approx([-0.7, 0, 1.5, 0])  # min(1/2, 1)
    assert follows(0, 0.75, rest) == pytest.approx([-0.2, 0.75, 1.5, 0])  # min(1, 1/2)
    assert follows(0, 1.6, rest) == pytest.approx([0, 1.6, 1.5, 0])  # round it
    assert follows(-2, 0, torch.tensor([[1.0, -0.5]])) == pytest.approx([-1.75, -0.125, 1.5, 0])


def test_the_headwind_is_a_network_of_seven_relus():
    env, network, draws = (
        piecewise_affine(num_envs=500, dtype=torch.float64),
        headwind(),
        generator(1),
    )
    state = 5 * torch.rand(500, 4, generator=draws, dtype=torch.float64) - 2.5
    action = env.action.sample(500, generator=draws)
    env.reset(0)
    env.simulation.set_state(state.numpy())
    expected = network.forward(torch.cat([state, action], 1).numpy())[0]
    np.testing.assert_allclose(env.step(action).next_obs.numpy(), expected, atol=1e-12)
    assert network.num_neurons == 7


def test_the_straight_way_through_the_wind_is_closed_and_a_way_round_is_not():
    env = piecewise_affine(num_envs=20, dtype=torch.float64)
    obs = env.reset(1)
    for _ in range(39):
        obs = env.step(torch.sign(obs[:, 2:] - obs[:, :2])).next_obs
    assert (obs[:, 0] < 0).all()
    obs = env.reset(1)
    for _ in range(39):
        past = obs[:, 0] > 1.1
        up = torch.where(past, obs[:, 3] - obs[:, 1], 1.8 - obs[:, 1])
        right = torch.where(obs[:, 1] > 1.5, 1.0, 0.0)
        right = torch.where(past, obs[:, 2] - obs[:, 0], right)
        obs = env.step(4 * torch.stack([right, up], 1)).next_obs
    assert (obs[:, :2] - obs[:, 2:]).norm(dim=1).max() < 0.1
