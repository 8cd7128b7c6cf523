"""Planners with their default settings, in closed loop on systems that are known.

    python -m scripts.experiments.planner_defaults [--starts 10] [--only SYSTEM ...]

The model is the system itself, so that planning is the only question. Linear systems: the cost of
50 steps over the least cost that bounded actions can reach (L-BFGS-B on all 50 actions), once with
bounds around zero, once with bounds far to one side of it. Pendulum and cart-pole: the return of
an episode. Writes results/experiments/planner_defaults.csv, a row a start.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mbrl.planners import CEM, ICEM, MPPI, Gradient
from mbrl.types import ActionSpec, Prediction
from scripts.experiments import icem_vs_cem
from scripts.experiments.table import write_table

RESULTS = Path(__file__).parents[2] / "results" / "experiments"
PLANNERS: dict[str, Callable[..., Any]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "gradient": Gradient,
}
COLUMNS = ("system", "planner", "start", "return", "optimum", "cost_ratio")
STEPS = 50  # of an episode in a linear system


class System(NamedTuple):
    """A system that is its own model."""

    action: ActionSpec
    start: Tensor  # (B, n)
    move: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # state, action -> state, reward
    length: int
    optimum: Tensor | None = None  # (B,) best returns of an episode
    horizon: int = 20  # of a plan

    def step(self, state: Tensor, action: Tensor, **_: Any) -> tuple[Tensor, Prediction]:
        """Return the next state and what is predicted."""
        after, reward = self.move(state, action)
        never = torch.zeros_like(reward, dtype=torch.bool)
        return after, Prediction(after, reward, never, ~never, None)


def linear(a: Tensor, b: Tensor, low: float, high: float, starts: int) -> System:
    """Return x' = Ax + Bu with reward -(x'x + u'u), and the optimum of each start."""
    draws = torch.Generator().manual_seed(7)
    x = torch.randn(starts, a.shape[0], generator=draws)
    x = 2 * x / x.norm(dim=1, keepdim=True)

    def move(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        reward = -state.square().sum(1) - action.square().sum(1)
        return state @ a.T + action @ b.T, reward

    action = ActionSpec.box([low] * b.shape[1], [high] * b.shape[1])
    best = torch.tensor([-least_cost(a, b, row, low, high) for row in x])
    return System(action, x, move, STEPS, best)


def least_cost(a: Tensor, b: Tensor, x: Tensor, low: float, high: float) -> float:
    """Return the least cost of an episode from x (n,); the problem is convex."""
    a, b, x = a.double(), b.double(), x.double()

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        u = torch.from_numpy(flat).reshape(STEPS, -1).requires_grad_()
        state, total = x, torch.zeros((), dtype=torch.float64)
        for each in u:
            total = total + state.square().sum() + each.square().sum()
            state = a @ state + b @ each
        (gradient,) = torch.autograd.grad(total, u)
        return float(total.detach()), gradient.reshape(-1).numpy()

    first = np.clip(np.zeros(STEPS * b.shape[1]), low, high)
    found = minimize(cost, first, jac=True, method="L-BFGS-B", bounds=[(low, high)] * first.size,
                     options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-10})  # fmt: skip
    return float(found.fun)


def non_normal() -> tuple[Tensor, Tensor]:
    """Return A (4, 4), unstable and far from normal, and B (4, 2)."""
    draws = torch.Generator().manual_seed(3)
    basis = torch.eye(4) + 0.5 * torch.randn(4, 4, generator=draws)
    a = basis @ torch.diag(torch.tensor([1.12, 0.95, 0.9, 0.6])) @ torch.linalg.inv(basis)
    return a, 0.5 * torch.randn(4, 2, generator=draws)


def double_integrator() -> tuple[Tensor, Tensor]:
    """Return A (2, 2) and B (2, 1) of a mass that is pushed."""
    return torch.tensor([[1.0, 0.1], [0.0, 1.0]]), torch.tensor([[0.0], [0.1]])


def chain() -> tuple[Tensor, Tensor]:
    """Return A (6, 6) and B (6, 3) of three masses between springs."""
    stiff = torch.tensor([[-2.0, 1.0, 0.0], [1.0, -2.0, 1.0], [0.0, 1.0, -2.0]])
    a = torch.eye(6)
    a[:3, 3:] = 0.2 * torch.eye(3)
    a[3:, :3] = 0.2 * stiff
    a[3:, 3:] -= 0.02 * torch.eye(3)
    b = torch.zeros(6, 3)
    b[3:] = 0.2 * torch.eye(3)
    return a, b


def pendulum(starts: int) -> System:
    """Return gymnasium's Pendulum-v1: state (angle, speed), 200 steps."""
    known, draws = icem_vs_cem.pendulum(), torch.Generator().manual_seed(7)
    start = torch.stack([known.start(draws) for _ in range(starts)])
    return System(known.act, start, known.move, known.length)


def swing_up(starts: int) -> System:
    """Return a cart-pole that hangs at first: state (x, angle from upright, their speeds)."""
    draws = torch.Generator().manual_seed(7)
    start = 0.1 * torch.randn(starts, 4, generator=draws) + torch.tensor([0, math.pi, 0, 0])

    def move(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x, angle, v, w = state.T
        force = 10 * action[:, 0]
        reward = (1 + angle.cos()) / 2 / (1 + x.square())
        for _ in range(2):
            sin, cos = angle.sin(), angle.cos()
            shared = (force + 0.05 * w.square() * sin) / 1.1
            turn = (9.8 * sin - cos * shared) / (0.5 * (4 / 3 - 0.1 * cos.square() / 1.1))
            v, w = v + 0.02 * (shared - 0.05 * turn * cos / 1.1), w + 0.02 * turn
            x, angle = x + 0.02 * v, angle + 0.02 * w
        return torch.stack([x, angle, v, w], 1), reward

    return System(ActionSpec.box([-1.0], [1.0]), start, move, 125, horizon=40)


SYSTEMS: dict[str, Callable[[int], System]] = {
    "non_normal": lambda n: linear(*non_normal(), -2.0, 2.0, n),
    "non_normal_one_side": lambda n: linear(*non_normal(), -2.0, 18.0, n),
    "double_integrator": lambda n: linear(*double_integrator(), -2.0, 2.0, n),
    "double_integrator_one_side": lambda n: linear(*double_integrator(), -2.0, 18.0, n),
    "chain": lambda n: linear(*chain(), -1.0, 1.0, n),
    "chain_one_side": lambda n: linear(*chain(), -1.0, 9.0, n),
    "pendulum": pendulum,
    "cartpole_swing_up": swing_up,
}


def play(system: System, planner: Any) -> Tensor:
    """Return the returns (B,) of an episode from each start."""
    state, plan = system.start, None
    draws = torch.Generator().manual_seed(0)
    total = torch.zeros(state.shape[0])
    for _ in range(system.length):
        plan = planner.plan(state, system, generator=draws, previous=plan)
        state, reward = system.move(state, plan.actions[:, 0])
        total += reward
    return total


def main() -> None:
    """Play every system with every planner, and print medians."""
    parser = argparse.ArgumentParser(description="Play known systems with default settings.")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--out", type=Path, default=RESULTS / "planner_defaults.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in options.only:
        system = SYSTEMS[name](options.starts)
        for kind, make in PLANNERS.items():
            began = time.process_time()
            returns = play(system, make(action=system.action, horizon=system.horizon))
            spent = time.process_time() - began
            for start, value in enumerate(returns.tolist()):
                row = {"system": name, "planner": kind, "start": start, "return": f"{value:.4g}"}
                if system.optimum is not None:
                    best = float(system.optimum[start])
                    row |= {"optimum": f"{best:.4g}", "cost_ratio": f"{value / best:.4g}"}
                rows.append(row)
            shown = returns if system.optimum is None else returns / system.optimum
            worst = shown.min() if system.optimum is None else shown.max()
            what = "return" if system.optimum is None else "cost / optimum"
            print(f"{name:27s} {kind:9s} {what}: median {shown.median():.4g}, worst {worst:.4g}"
                  f"; {spent:.0f} s", flush=True)  # fmt: skip
    write_table(options.out, "python -m scripts.experiments.planner_defaults", list(COLUMNS), rows)


if __name__ == "__main__":
    main()
