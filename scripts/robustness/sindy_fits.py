"""Compare SINDy's default fit with least squares on the same library, on fresh rows.

    python -m scripts.robustness.sindy_fits [--seeds 3] [--only ENV ...]

Random actions, 3,000 rows to fit and 1,500 fresh ones; errors of one step in standard deviations of
each observation. Rows are added to results/robustness/sindy_fits.csv; rows that are there already
are not run again.
"""

from __future__ import annotations

import argparse
import logging
import time

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mbrl.dynamics import SINDy
from mbrl.types import ActionSpec, Task, Transitions
from scripts.robustness.tables import Table

GYMNASIUM = (
    "Reacher-v5",
    "InvertedDoublePendulum-v5",
    "Hopper-v5",
    "Acrobot-v1",
    "HalfCheetah-v5",
    "Pendulum-v1",
    "Swimmer-v5",
    "Pusher-v5",
)
COLUMNS = (
    *("env", "seed", "error", "least_squares", "ratio", "no_change", "terms", "library"),
    *("circles", "rollout_error", "rollout_no_change", "refused", "seconds"),
)


def gym_rows(name: str, count: int, seed: int) -> Transitions:
    """Return rows of random actions in a gymnasium environment."""
    env = gymnasium.make(name)
    env.action_space.seed(seed)
    columns: list[list[object]] = [[] for _ in range(6)]
    obs, _ = env.reset(seed=seed)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    for _ in range(count):
        action = env.action_space.sample()
        after, reward, ended, cut, _ = env.step(action)
        given = np.eye(env.action_space.n)[action] if discrete else action  # type: ignore[attr-defined]
        row = (obs, given, after, reward, ended, cut)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        obs = env.reset()[0] if ended or cut else after
    return Transitions.from_arrays(*(np.array(column) for column in columns))


def arm_rows(count: int, seed: int) -> Transitions:
    """Return rows of an arm of two joints, observed with its tip, which the angles determine."""
    draws = np.random.default_rng(seed)
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, bool]] = []

    def observe(q: np.ndarray, v: np.ndarray) -> np.ndarray:
        both = q.sum()
        tip = [np.cos(q[0]) + 0.8 * np.cos(both), np.sin(q[0]) + 0.8 * np.sin(both)]
        return np.array([np.cos(q[0]), np.sin(q[0]), np.cos(q[1]), np.sin(q[1]), *tip, *v])

    while len(rows) < count:
        q, v = draws.uniform(-np.pi, np.pi, 2), 0.5 * draws.normal(size=2)
        for t in range(50):
            u, before = draws.uniform(-1, 1, 2), observe(q, v)
            c, h = np.cos(q[1]), 0.5 * np.sin(q[1])
            mass = np.array([[2.5 + c, 0.8 + 0.5 * c], [0.8 + 0.5 * c, 0.8]])
            bias = np.array([-h * (2 * v[0] * v[1] + v[1] ** 2), h * v[0] ** 2])
            v = v + 0.05 * np.linalg.solve(mass, 4 * u - bias - 0.5 * v)
            q = q + 0.05 * v
            rows.append((before, u, observe(q, v), t == 49))
    obs, action, after, last = (np.array(x) for x in zip(*rows[:count], strict=True))
    return Transitions.from_arrays(obs, action, after, truncated=last)


def error_of(next_obs: Tensor, data: Transitions) -> float:
    """Return the error of predictions (B, n) in standard deviations of each observation."""
    spread = data.obs.double().std(0, correction=0)
    spread = torch.where(spread > 0, spread, torch.inf)
    return ((next_obs.double() - data.next_obs.double()) / spread).square().mean().sqrt().item()


def least_squares(model: SINDy, train: Transitions, test: Transitions) -> Tensor:
    """Return the predictions (B, n) of least squares on the model's library."""
    library = model.steps.layout.library

    def terms(data: Transitions) -> np.ndarray:
        return library.evaluate([*data.obs.double().T, *data.action.double().T]).numpy()

    x = terms(train)
    size = np.sqrt((x**2).mean(0))
    size[size == 0] = 1
    change = (train.next_obs.double() - train.obs.double()).numpy()
    weights = np.linalg.lstsq(x / size, change, rcond=1e-10)[0]
    return test.obs.double() + torch.from_numpy(terms(test) / size @ weights)


def run(table: Table, name: str, seed: int) -> None:
    """Fit one environment's rows and add the result."""
    make = arm_rows if name == "two-joint arm" else lambda n, s: gym_rows(name, n, s)
    train, test = make(3000, seed), make(1500, seed + 1000)
    width = train.action.shape[1]
    action = ActionSpec.box([-1.0] * width, [1.0] * width)
    model = SINDy(obs_dim=train.obs.shape[1], action=action, task=Task())
    began = time.perf_counter()
    metrics = model.fit(train, generator=seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        own = error_of(model.step(model.initial(test.obs), test.action)[1].next_obs, test)
    dense, still = error_of(least_squares(model, train, test), test), error_of(test.obs, test)
    system = model.system()
    row = [f"{own:.4g}", f"{dense:.4g}", f"{own / dense:.3f}", f"{still:.4g}"]
    row += [int(metrics["model/terms"]), len(system.library) * len(system.targets)]
    row += [len(model.steps.pairs()), f"{metrics['model/rollout_error']:.3g}"]
    row += [f"{metrics['model/no_change_error']:.3g}", int(bool(model.refusal()))]
    table.add([name, seed, *row, f"{seconds:.0f}"])


def main() -> None:
    """Run what the table does not hold, and print the ratios."""
    names = ("two-joint arm", *GYMNASIUM)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(names), choices=names)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    table = Table("sindy_fits", "python -m scripts.robustness.sindy_fits", COLUMNS)
    for seed in range(options.seeds):
        for name in options.only:
            if not table.has(name, str(seed)):
                run(table, name, seed)
    for name in options.only:
        ratios = [row[4] for row in table.rows if row[0] == name]
        print(f"{name}: {', '.join(ratios)} of least squares")


if __name__ == "__main__":
    main()
