"""Networks and problems that the benchmarks of the exact planners share: smooth, and with contact.

smooth: a pendulum, obs (angle, speed), torque in [-2, 2], 0.1-s steps; contact: a point pushes a
disc without inertia on a table, obs (pusher x, y, disc x, y) relative to the goal in metres, pusher
velocity in [-0.2, 0.2], 0.1-s steps. A network is a residual affine skip and one hidden layer of N
ReLUs, trained on errors of rollouts of 4 steps of random data; it is cached under runs/.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import RELU, Layer, PiecewiseLinearCost, ReluNetwork, Term, distance
from mbrl.relu.program import Problem
from mbrl.types import ActionSpec

CACHE = Path(__file__).parents[2] / "runs" / "mip_networks"
REACH = 0.065  # of the disc and the pusher together
STEPS = 4


class System(NamedTuple):
    """A task: where it starts, what it costs."""

    action: ActionSpec
    cost: PiecewiseLinearCost
    obs_dim: int


def system(name: str) -> System:
    """Return what a task is made of."""
    if name == "smooth":
        action = ActionSpec("continuous", torch.tensor([-2.0]), torch.tensor([2.0]))
        weight = np.diag([1.0, 0.1, 0.01])
        return System(action, PiecewiseLinearCost((Term("l1", weight, np.zeros(3)),)), 2)
    action = ActionSpec("continuous", torch.full((2,), -0.2), torch.full((2,), 0.2))
    goal = Term("l1", np.eye(2, 6, 2), np.zeros(2))
    near = distance(((0, 2), (1, 3)), 6, weight=0.1)
    effort = Term("l1", 0.001 * np.eye(2, 6, 4), np.zeros(2))
    return System(action, PiecewiseLinearCost((goal, near, effort)), 4)


def starts(name: str, count: int, seed: int) -> np.ndarray:
    """Draw obs (count, obs_dim) to plan from."""
    draws = np.random.default_rng(seed)
    if name == "smooth":
        return draws.uniform([-np.pi, -4], [np.pi, 4], (count, 2))
    return _disc_starts(count, draws, 0.12)


def move(name: str, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Simulate a true step: obs (B, obs_dim), action (B, act_dim)."""
    if name == "smooth":
        angle, speed = obs.T
        for _ in range(10):
            speed = speed + 0.01 * (15 * np.sin(angle) + 3 * action[:, 0])
            angle = angle + 0.01 * speed
        return np.stack([angle, speed], 1)
    pusher, disc = obs[:, :2], obs[:, 2:]
    for _ in range(10):
        pusher = pusher + 0.01 * action
        away = disc - pusher
        far = np.linalg.norm(away, axis=1, keepdims=True)
        disc = np.where(far < REACH, pusher + away * REACH / np.maximum(far, 1e-9), disc)
    return np.concatenate([pusher, disc], 1)


def _disc_starts(count: int, draws: np.random.Generator, spread: float) -> np.ndarray:
    disc = draws.uniform(-spread, spread, (count, 2))
    angle = draws.uniform(0, 2 * np.pi, count)
    far = REACH + draws.exponential(0.02, count)
    away = np.stack([np.cos(angle), np.sin(angle)], 1) * far[:, None]
    return np.concatenate([disc + away, disc], 1)


def trained(name: str, width: int, seed: int = 0, updates: int = 4000) -> ReluNetwork:
    """Return a network of N = width ReLUs, trained the first time."""
    file = CACHE / f"{name}_{width}_{seed}.npz"
    task = system(name)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, *_train(name, task, width, seed, updates))
    w1, b1, w2, b2 = np.load(file).values()
    return ReluNetwork((Layer(w1, b1, np.full(len(b1), RELU, np.int8)),), w2, b2, task.obs_dim)


def _train(name: str, task: System, width: int, seed: int, updates: int) -> list[np.ndarray]:
    """Fit rollouts of STEPS steps; gives weights and biases in raw units."""
    draws = np.random.default_rng(seed)
    n, m = task.obs_dim, task.action.dim
    low, high = (x.double().numpy() for x in (task.action.low, task.action.high))
    if name == "smooth":
        obs = draws.uniform([-1.5 * np.pi, -8], [1.5 * np.pi, 8], (6000, 2))
    else:
        obs = _disc_starts(6000, draws, 0.15)
    steady = draws.uniform(low, high, (6000, m))
    actions = np.clip(
        steady[:, None] + draws.normal(size=(6000, STEPS, m)) * (high - low) / 6, low, high
    )
    states = [obs]
    for t in range(STEPS):
        states.append(move(name, states[-1], actions[:, t]))
    path = np.stack(states, 1)  # (B, STEPS + 1, n)
    scale = np.concatenate([path[:, 0].std(0), (high - low) / 2])
    change = (path[:, 1] - path[:, 0]).std(0)
    x = torch.from_numpy(path / scale[:n]).float()
    u = torch.from_numpy(actions / scale[n:]).float()
    gain = torch.from_numpy(change / scale[:n]).float()
    torch_draws = torch.Generator().manual_seed(seed)
    w1 = torch.randn(width, n + m, generator=torch_draws) * (2 / (n + m)) ** 0.5
    parts = [w1, torch.randn(width, generator=torch_draws) * 0.5]
    parts += [torch.randn(n, width, generator=torch_draws) * 0.1]
    parts += [torch.zeros(n, n + m), torch.zeros(n)]
    for part in parts:
        part.requires_grad_()
    adam = torch.optim.Adam(parts, lr=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 1e-2, total_steps=updates)
    for _ in range(updates):
        rows = torch.randint(6000, (256,), generator=torch_draws)
        here = x[rows, 0]
        loss = torch.zeros(())
        for t in range(STEPS):
            here = _predict(parts, gain, here, u[rows, t])
            loss = loss + ((here - x[rows, t + 1]) / gain).square().mean() / (t + 1)
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
    w1, b1, w2, skip, b2 = (p.detach().double().numpy() for p in parts)
    gain, scale_x = gain.double().numpy(), scale[:n]
    w2, skip, b2 = (gain * scale_x * p.T for p in (w2, skip, b2))
    weight = np.concatenate([skip.T / scale + np.eye(n, n + m), w2.T], 1)
    return [w1 / scale, b1, weight, b2]


def _predict(parts: list[Tensor], gain: Tensor, x: Tensor, u: Tensor) -> Tensor:
    w1, b1, w2, skip, b2 = parts
    seen = torch.cat([x, u], 1)
    return x + gain * (seen @ skip.T + torch.relu(seen @ w1.T + b1) @ w2.T + b2)


def model(name: str, width: int, seed: int = 0) -> Exact:
    """Return a task's network and cost as a model that every planner accepts."""
    return Exact(trained(name, width, seed), system(name).cost)


def problem(name: str, width: int, horizon: int, obs: np.ndarray, seed: int = 0) -> Problem:
    """Build the program for the best actions from obs (obs_dim,)."""
    task = system(name)
    low, high = (
        np.tile(x.double().numpy(), (horizon, 1)) for x in (task.action.low, task.action.high)
    )
    return Problem(trained(name, width, seed), task.cost, obs, low, high)


def error(name: str, width: int, seed: int = 0) -> tuple[float, float]:
    """Return one-step and four-step errors, each as a share of the states' change in a step."""
    network, task = trained(name, width, seed), system(name)
    draws = np.random.default_rng(99)
    obs = starts(name, 2000, 99)
    low, high = (x.double().numpy() for x in (task.action.low, task.action.high))
    actions = np.repeat(draws.uniform(low, high, (2000, 1, len(low))), STEPS, 1)
    outputs, _ = network.simulate(obs, actions)
    true, states = obs, []
    for t in range(STEPS):
        true = move(name, true, actions[:, t])
        states.append(true)
    change = (states[0] - obs).std(0)
    errors = [(((outputs[:, t] - states[t]) / change) ** 2).mean() ** 0.5 for t in (0, STEPS - 1)]
    return errors[0], errors[1]
