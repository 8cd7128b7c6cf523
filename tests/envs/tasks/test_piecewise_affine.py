"""The headwind by hand, and as a network."""

import numpy as np
import pytest
import torch

from mbrl.envs import piecewise_affine
from mbrl.envs.tasks.piecewise_affine import headwind
from tests.toys import generator


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
