"""Pendulum against gymnasium's; its sparse and weak variants by hand."""

import numpy as np
import pytest
import torch

import mbrl
from mbrl.envs import make_vec, pendulum
from tests.envs.compare import compare


def test_pendulum_is_gymnasiums():
    assert compare("Pendulum-v1", seeds=8, steps=210, tolerance=1e-6) == 32


def test_sparse_pendulum_hangs_holds_and_pays_while_standing():
    env = mbrl.make_vec("PendulumSparse-v0", num_envs=3, dtype=torch.float64)
    obs = env.reset(0)
    assert (obs[:, 0] < -0.95).all()
    steps = 0
    while True:
        step = env.step(torch.zeros(3, 1))
        steps += 1
        assert (step.reward == 0).all()
        if step.truncated.any():
            break
    assert steps == 100
    env.simulation.set_state(np.array([[0.1, 0.0], [0.55, 1.0], [0.1, 3.0]]))
    assert env.step(torch.zeros(3, 1)).reward.tolist() == [1, 0, 0]


def test_a_weak_pendulum_is_a_pendulum_with_smaller_actions():
    weak, whole = pendulum(max_torque=0.7), make_vec("Pendulum-v1")
    assert weak.action.high.item() == pytest.approx(0.7) and whole.action.high.item() == 2
    assert weak.reset(3).equal(whole.reset(3))
    action = torch.tensor([[0.7]])
    assert weak.step(action).next_obs.equal(whole.step(action).next_obs)


def test_a_sparse_pendulum_holds_each_torque_for_two_steps():
    dense, sparse = (pendulum(sparse=s, dtype=torch.float64) for s in (False, True))
    for env in (dense, sparse):
        env.reset(0)
        env.simulation.set_state(np.array([[2.0, -1.0]]))
    torque = torch.tensor([[1.3]])
    dense.step(torque)
    assert sparse.step(torque).next_obs.equal(dense.step(torque).next_obs)
