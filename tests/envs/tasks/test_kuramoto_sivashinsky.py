"""The flow: what its equation conserves, how waves grow, an independent solver, a finer step."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from mbrl.envs import kuramoto_sivashinsky
from mbrl.envs.tasks.kuramoto_sivashinsky import LENGTH, NUM_ACTUATORS, STEP, Solver, calm
from tests.toys import generator

N = 64

X = np.arange(N) * LENGTH / N

WAVES = 2 * np.pi * np.arange(N // 2 + 1) / LENGTH


@pytest.fixture(scope="module")
def attractor():
    env = kuramoto_sivashinsky(num_envs=4, dtype=torch.float64)
    env.reset(0)
    return env.simulation.get_state()


def pushes(rows, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (rows, NUM_ACTUATORS))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
def test_small_waves_grow_or_decay_as_the_linear_equation_says(k):
    u = 1e-7 * np.cos(2 * np.pi * k * X / LENGTH)[None]
    solver, q = Solver(), 2 * np.pi * k / LENGTH
    after = solver(solver(u, np.zeros((1, NUM_ACTUATORS))), np.zeros((1, NUM_ACTUATORS)))
    grown = np.exp((q**2 - q**4) * 2 * STEP)
    assert (q < 1) == (grown > 1)
    np.testing.assert_allclose(after, grown * u, rtol=1e-5, atol=1e-16)


def test_transport_conserves_energy_and_nothing_moves_the_mean(attractor):
    solver = Solver()
    spectrum = np.fft.rfft(attractor) * solver._resolved
    u, change = (np.fft.irfft(s, N) for s in (spectrum, solver.transport(spectrum)))
    assert np.abs((u * change).sum(1)).max() < 1e-10 * np.abs(u * change).sum(1).max()
    shifted = solver(attractor + 0.3, pushes(4))
    np.testing.assert_allclose(shifted.mean(1), attractor.mean(1) + 0.3, atol=1e-12)


def test_energy_changes_by_production_dissipation_and_work(attractor):
    """d/dt of the mean of u^2 / 2 is the mean of u_x^2 - u_xx^2 + u f."""
    step = 1e-4
    solver, action = Solver(step=step, num_substeps=1), pushes(4)
    slope, bend = (np.fft.irfft((1j * WAVES) ** n * np.fft.rfft(attractor), N) for n in (1, 2))
    force = np.fft.irfft(action @ solver._shapes, N)
    expected = (slope**2 - bend**2 + attractor * force).mean(1)
    before, after = ((u**2).mean(1) / 2 for u in (attractor, solver(attractor, action)))
    np.testing.assert_allclose((after - before) / step, expected, rtol=1e-2, atol=1e-3)


def test_it_is_the_equation_that_an_independent_solver_solves(attractor):
    solver, action = Solver(), pushes(1)
    force = np.fft.irfft(action @ solver._shapes, N)[0]

    def flow(t, u):
        spectrum = np.fft.rfft(u)
        first, second, fourth = (np.fft.irfft((1j * WAVES) ** n * spectrum, N) for n in (1, 2, 4))
        return -u * first - second - fourth + force

    u = attractor[:1]
    for _ in range(4):
        u = solver(u, action)
    found = solve_ivp(flow, (0, 4 * STEP), attractor[0], method="LSODA", rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(u[0], found.y[:, -1], atol=2e-4)


def test_a_finer_step_and_grid_change_little(attractor):
    action = pushes(4)

    def after(num_substeps, u=attractor):
        solver = Solver(u.shape[1], num_substeps=num_substeps)
        for _ in range(4):
            u = solver(u, action)
        return u

    exact = after(64)
    errors = [np.abs(after(n) - exact).max() for n in (1, 2, 4, 8)]
    assert errors[1] < 2e-4
    assert all(coarse > 6 * fine for coarse, fine in zip(errors, errors[1:], strict=False))
    fine_grid = np.fft.irfft(np.fft.rfft(attractor), 2 * N) * 2
    np.testing.assert_allclose(after(2, fine_grid)[:, ::2], after(2), atol=1e-3)


def test_the_ring_has_no_beginning(attractor):
    solver, action = Solver(num_points=60), pushes(4)  # 12 points from an actuator to the next
    u = np.fft.irfft(np.fft.rfft(attractor)[:, :31], 60)
    turned = solver(np.roll(u, 12, 1), np.roll(action, 1, 1))
    np.testing.assert_allclose(turned, np.roll(solver(u, action), 12, 1), atol=1e-12)


def test_left_alone_it_neither_rests_nor_leaves_the_attractor():
    env = kuramoto_sivashinsky(num_envs=8, dtype=torch.float64)
    env.reset(1)
    paid = torch.stack([env.step(torch.zeros(8, 5)).reward for _ in range(200)])
    assert (paid.mean(0) < -0.7).all() and (paid.mean(0) > -2.5).all()
    assert paid.std(0).min() > 0.05


def test_the_reward_is_the_energy_of_the_observed_waves_and_they_hold_nearly_all():
    env = kuramoto_sivashinsky(num_envs=4, dtype=torch.float64)
    env.reset(2)
    action = env.action.sample(4, generator=generator(0))
    step = env.step(action)
    energy = (env.simulation.get_state() ** 2).mean(1)
    effort = 0.01 * action.double().square().mean(1).numpy()
    np.testing.assert_allclose(-step.reward.numpy() - effort, energy, rtol=0.03)
    assert calm(step.obs, 3 * torch.ones(4, 5), 0 * step.obs).tolist() == pytest.approx([-0.01] * 4)


def test_rows_do_not_know_of_each_other():
    whole, one = (kuramoto_sivashinsky(num_envs=n, seed=0, dtype=torch.float64) for n in (3, 1))
    torch.testing.assert_close(whole.reset(5)[:1], one.reset(5), atol=1e-9, rtol=0)
    action = whole.action.sample(3, generator=generator(1))
    seen, _ = whole.simulate(whole.env_state(), action[:, None].repeat(1, 3, 1))
    for t in range(3):
        step = whole.step(action)
        torch.testing.assert_close(step.next_obs[:1], one.step(action[:1]).next_obs)
        torch.testing.assert_close(step.next_obs, seen.next_obs[:, t])
        torch.testing.assert_close(step.reward, seen.reward[:, t])
