"""Cart-pole swing-up: rewards of the control suite, equations of motion by hand."""

import math

import pytest
import torch

import mbrl
from mbrl.envs.tasks.cartpole_swingup import smooth_reward, sparse_reward


def state(x=0.0, angle=0.0, speed=0.0, spin=0.0):
    return torch.tensor([[x, math.cos(angle), math.sin(angle), speed, spin]])


def test_the_smooth_reward_is_the_control_suites():
    """Factors of dm_control's cartpole.swingup, written out for a few states."""
    rest = torch.zeros(1, 1)
    assert smooth_reward(state(), rest, state()).item() == pytest.approx(1.0)
    assert smooth_reward(state(), rest, state(angle=math.pi)).item() == pytest.approx(0, abs=1e-6)
    # at its margin a tolerance is 0.1: centred (1 + .1) / 2, slow (1 + .1) / 2
    assert smooth_reward(state(), rest, state(x=2)).item() == pytest.approx(0.55)
    assert smooth_reward(state(), rest, state(spin=5)).item() == pytest.approx(0.55)
    # quadratic: full force leaves (4 + 0) / 5, half of it (4 + .75) / 5; force is clipped
    assert smooth_reward(state(), torch.tensor([[7.0]]), state()).item() == pytest.approx(0.8)
    assert smooth_reward(state(), torch.tensor([[-0.5]]), state()).item() == pytest.approx(0.95)
    assert smooth_reward(state(), rest, state(angle=math.pi / 2)).item() == pytest.approx(0.5)


def test_the_sparse_reward_pays_at_the_goal_alone():
    rest = torch.zeros(1, 1)
    paid = [(0, 0), (0.25, 0.09), (0.26, 0), (0, 0.11), (0, math.pi)]
    found = [sparse_reward(state(), rest, state(x, angle)).item() for x, angle in paid]
    assert found == [1, 1, 0, 0, 0]


def test_cart_pole_follows_its_equations_of_motion():
    """A rigid-body step by hand: M(q) qdd = force - bias, integrated finely."""
    env = mbrl.make_vec("CartpoleSwingup-v0", dtype=torch.float64, seed=3)
    env.reset(3)
    model = env.simulation.model
    mass, length = 0.1, 0.5  # of the pole, to its centre
    inertia = model.body("pole").inertia.max()
    x, angle, speed, spin = env.env_state()[0, 1:5].tolist()
    force = 7.0
    fine = 100
    for _ in range(50):
        step = env.step(torch.tensor([[force / 10]]))
        for _ in range(fine):
            m11, m12 = 1 + mass, mass * length * math.cos(angle)
            m22 = inertia + mass * length**2
            b1 = force - 5e-4 * speed + mass * length * spin**2 * math.sin(angle)
            b2 = mass * 9.81 * length * math.sin(angle) - 2e-6 * spin
            det = m11 * m22 - m12**2
            speed += 0.01 / fine * (m22 * b1 - m12 * b2) / det
            spin += 0.01 / fine * (m11 * b2 - m12 * b1) / det
            x += 0.01 / fine * speed
            angle += 0.01 / fine * spin
        force = -force if _ % 20 == 19 else force
    found = step.next_obs[0].tolist()
    assert found == pytest.approx([x, math.cos(angle), math.sin(angle), speed, spin], abs=0.02)


def test_cart_pole_lasts_1000_steps_and_pays_at_most_1000():
    env = mbrl.make_vec("CartpoleSwingup-v0", num_envs=2)
    env.reset(0)
    total = torch.zeros(2)
    for t in range(1000):
        step = env.step(torch.zeros(2, 1))
        total += step.reward
        assert step.truncated.all() == (t == 999) and not step.terminated.any()
    assert (total < 100).all() and (total >= 0).all()  # it hangs
