"""Count exact equations that SINDy and PySINDy find in noisy runs of known systems.

    python -m scripts.robustness.sindy_supports [--seeds 10] [--only SYSTEM ...]

Each system is simulated by the classical Runge-Kutta rule with ten substeps; normal noise of 1% of
each state's standard deviation is added to what is measured. Both fit the same library with their
default settings: SINDy selects terms itself, PySINDy's STLSQ has its default threshold of 0.1, for
each of three kinds of derivative. Rows are added to results/robustness/sindy_supports.csv; rows
that are there already are not run again.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy import LibrarySettings
from mbrl.dynamics.sindy.equations import equations
from mbrl.types import ActionSpec, Task, Transitions
from scripts.robustness.tables import Table

Array = NDArray[np.float64]
COLUMNS = ("system", "seed", "method", "true_terms", "missing", "false", "exact", "seconds")


class System(NamedTuple):
    """Controlled system with known equations."""

    rate: Callable[[Array, Array], Array]  # state, action -> time derivative
    start: Callable[[np.random.Generator], Array]
    control: Callable[[np.random.Generator, Array, int], Array]
    step: float  # s
    steps: int
    hold: int  # steps for which an action is held
    library: LibrarySettings
    names: tuple[str, ...]
    terms: tuple[str, ...]  # of each state's rate


def duffing(x: Array, u: Array) -> Array:
    """Return x' = v, v' = -0.3 v + x - x^3 + u."""
    return np.array([x[1], -0.3 * x[1] + x[0] - x[0] ** 3 + u[0]])


def lorenz(x: Array, u: Array) -> Array:
    """Return the rates of Lorenz 1963, pushed in the first state."""
    return np.array(
        [10 * (x[1] - x[0]) + u[0], x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]
    )


def quadrotor(x: Array, u: Array) -> Array:
    """Return the rates of a planar quadrotor of 1 kg and 1 kg m^2: thrust, torque."""
    return np.array([*x[3:], -u[0] * np.sin(x[2]), u[0] * np.cos(x[2]) - 9.81, u[1]])


def fly(draws: np.random.Generator, x: Array, t: int) -> Array:
    """Return thrust and torque that follow a moving point, with noise that explores."""
    right = 2.0 * np.sin(0.02 * t) - x[0] - 1.5 * x[3]
    up = 2.0 * np.cos(0.013 * t) - 2 * x[1] - 2 * x[4]
    lean = np.clip(-right / 9.81, -0.8, 0.8)
    pushed = np.array([9.81 + up, 20 * (lean - x[2]) - 6 * x[5]])
    return pushed + np.array([2.0, 8.0]) * draws.normal(size=2)


def van_der_pol(x: Array, u: Array) -> Array:
    """Return x' = v, v' = 2 (1 - x^2) v - x + u."""
    return np.array([x[1], 2 * (1 - x[0] ** 2) * x[1] - x[0] + u[0]])


def predator(x: Array, u: Array) -> Array:
    """Return the rates of Lotka and Volterra, the prey being fed or hunted."""
    return np.array([x[0] - 0.5 * x[0] * x[1] + u[0], -x[1] + 0.4 * x[0] * x[1]])


def uniform(size: float) -> Callable[[np.random.Generator, Array, int], Array]:
    """Return a policy of uniform random actions."""
    return lambda draws, x, t: draws.uniform(-size, size, 1)


SYSTEMS = {
    "duffing": System(
        *(duffing, lambda g: g.uniform(-1, 1, 2), uniform(2.0), 0.05, 400, 5),
        *(LibrarySettings(degree=3, affine=False), ("x", "v")),
        terms=("v", "v x x^3 u"),
    ),
    "lorenz": System(
        *(lorenz, lambda g: np.array([-8.0, 8, 27]) + g.normal(size=3), uniform(20.0)),
        *(0.01, 1000, 10, LibrarySettings(degree=2, affine=False), ("x", "y", "z")),
        terms=("x y u", "x y x_z", "z x_y"),
    ),
    "quadrotor": System(
        *(quadrotor, lambda g: 0.3 * g.normal(size=6), fly, 0.02, 2000, 5),
        *(LibrarySettings(degree=1, frequencies=1), ("x", "z", "a", "vx", "vz", "w")),
        terms=("vx", "vz", "w", "u0_sin(a)", "u0_cos(a) 1", "u1"),
    ),
    "van_der_pol": System(
        *(van_der_pol, lambda g: g.uniform(-2, 2, 2), uniform(2.0), 0.05, 400, 5),
        *(LibrarySettings(degree=3, affine=False), ("x", "v")),
        terms=("v", "v x^2_v x u"),
    ),
    "predator_prey": System(
        *(predator, lambda g: g.uniform(1, 3, 2), uniform(0.3), 0.05, 600, 10),
        *(LibrarySettings(degree=2, affine=False), ("x", "y")),
        terms=("x x_y u", "y x_y"),
    ),
}


def simulate(system: System, seed: int, noise: float = 0.01) -> tuple[Array, Array]:
    """Return measured states (steps + 1, n) and the actions (steps, m) of one run."""
    draws = np.random.default_rng(seed)
    x, u = np.asarray(system.start(draws), float), np.zeros(1)
    states, actions = [x], []
    h = system.step / 10
    for t in range(system.steps):
        u = system.control(draws, x, t) if t % system.hold == 0 else u
        for _ in range(10):
            a = system.rate(x, u)
            b = system.rate(x + h / 2 * a, u)
            c = system.rate(x + h / 2 * b, u)
            x = x + h / 6 * (a + 2 * b + 2 * c + system.rate(x + h * c, u))
        states.append(x)
        actions.append(u)
    path = np.array(states)
    return path + noise * path.std(0) * draws.normal(size=path.shape), np.array(actions)


def as_transitions(states: Array, actions: Array) -> Transitions:
    """Return a run as transitions (B, ...) of one episode."""
    last = np.zeros(len(actions), bool)
    last[-1] = True
    return Transitions.from_arrays(states[:-1], actions, states[1:], truncated=last)


def own_fit(system: System, states: Array, actions: Array, seed: int) -> tuple[list[set[str]], Any]:
    """Return the names of the terms of each equation that SINDy finds, and the model."""
    task = Task(obs_names=system.names)
    bounds = [100.0] * actions.shape[1]
    model = SINDy(
        obs_dim=states.shape[1],
        action=ActionSpec.box([-b for b in bounds], bounds),
        task=task,
        library=system.library,
    )
    model.fit(as_transitions(states, actions), generator=seed)
    found = [{t.text(e.names).replace(" ", "_") for _, t in e.terms} for e in equations(model)]
    return found[: states.shape[1]], model


def their_fit(
    system: System, states: Array, actions: Array, model: Any, how: Any
) -> list[set[str]]:
    """Return the names of the terms that PySINDy finds with a kind of derivative."""
    import pysindy

    from mbrl.dynamics.sindy.pysindy_exchange import term_library

    library = model.steps.layout.library
    fitted = pysindy.SINDy(feature_library=term_library(library), differentiation_method=how)
    fitted.fit(states, t=system.step, u=np.concatenate([actions, actions[-1:]]))
    names = [t.text(model.variable_names).replace(" ", "_") for t in library]
    return [{n for n, w in zip(names, row, strict=True) if w} for row in fitted.coefficients()]


def run(table: Table, name: str, seed: int) -> None:
    """Fit one run of a system by every method and add the rows."""
    import pysindy

    system = SYSTEMS[name]
    states, actions = simulate(system, seed)
    began = time.perf_counter()
    found, model = own_fit(system, states, actions, seed)
    results = {"dynaplan": (found, time.perf_counter() - began)}
    for method, how in {
        "pysindy, finite differences": pysindy.FiniteDifference(),
        "pysindy, smoothed": pysindy.SmoothedFiniteDifference(),
        "pysindy, Savitzky-Golay": pysindy.SINDyDerivative(
            kind="savitzky_golay", left=5 * system.step, right=5 * system.step, order=3
        ),
    }.items():
        began = time.perf_counter()
        results[method] = (
            their_fit(system, states, actions, model, how),
            time.perf_counter() - began,
        )
    truth = [set(terms.split()) for terms in system.terms]
    for method, (sets, seconds) in results.items():
        missing = sum(len(t - s) for t, s in zip(truth, sets, strict=True))
        false = sum(len(s - t) for t, s in zip(truth, sets, strict=True))
        count = sum(map(len, truth))
        row = [name, seed, method, count, missing, false, int(missing + false == 0)]
        table.add([*row, f"{seconds:.1f}"])


def main() -> None:
    """Run what the table does not hold, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    table = Table("sindy_supports", "python -m scripts.robustness.sindy_supports", COLUMNS)
    for name in options.only:
        for seed in range(options.seeds):
            if not table.has(name, str(seed)):
                run(table, name, seed)
        rows = [row for row in table.rows if row[0] == name]
        for method in dict.fromkeys(row[2] for row in rows):
            own = [row for row in rows if row[2] == method]
            exact, false = (sum(int(row[i]) for row in own) for i in (6, 5))
            print(f"{name}: {method}: {exact} of {len(own)} exact, {false} false terms")


if __name__ == "__main__":
    main()
