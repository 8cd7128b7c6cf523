"""Time sparse prediction and refits against PySINDy in one run, turn by turn.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.bench_sindy [--rounds 15]

Prediction: a quadratic library of 28 features of 5 observations and 1 action, 46 coefficients, one
thread, float64; `kernel` is what compile=true chooses (plain Python for one row, else C),
`kernel_out` the same into an array that is there already, `array` what is used without a compiler
(plain Python, numpy). Refit: 20 members by bagging and library dropout, the
control-affine quadratic library of 42 features, 2000 rows. Prints medians of CPU time, writes
results/benchmarks/sindy_speed.csv.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysindy
import torch

from mbrl.dynamics.sindy import LibrarySettings
from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.fit import Problem, bags, fit_members
from mbrl.dynamics.sindy.library import build_library, polynomial
from mbrl.dynamics.sindy.predictor import Predictor

OUT = Path(__file__).parents[2] / "results" / "benchmarks" / "sindy_speed.csv"


def medians(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each side, the sides taking turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            side()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def prediction(rounds: int) -> list[tuple[str, int, dict[str, float]]]:
    draws = np.random.default_rng(0)
    weights = np.zeros(5 * 28)
    weights[draws.choice(weights.size, 46, replace=False)] = draws.normal(size=46)
    weights = weights.reshape(5, 28)
    model = pysindy.DiscreteSINDy(feature_library=pysindy.PolynomialLibrary(2))
    rows = draws.normal(size=(50, 6))
    model.fit(rows[:, :5], 1.0, x_next=rows[:, :5], u=rows[:, 5:])
    model.optimizer.coef_ = weights  # pyright: ignore[reportAttributeAccessIssue]
    system = System(5, 1, False, tuple(range(5)), polynomial(range(6), 2), weights)
    kernel, array = Predictor(system, compile=True), Predictor(system)
    if kernel.why_not:
        print(f"no kernel: {kernel.why_not}")
    found = []
    for batch in (1, 1000, 10_000, 100_000):
        obs, action = draws.normal(size=(batch, 5)), draws.normal(size=(batch, 1))
        result = np.zeros_like(obs)
        sides: dict[str, Callable[[], object]] = {
            "pysindy": lambda o=obs, a=action: model.predict(o, u=a),
            "kernel": lambda o=obs, a=action: kernel.numpy(o, a),
            "kernel_out": lambda o=obs, a=action, r=result: kernel.numpy(o, a, r),
            "array": lambda o=obs, a=action: array.numpy(o, a),
        }
        expected = np.asarray(sides["pysindy"]())
        for name in ("kernel", "kernel_out", "array"):
            error = np.abs(np.asarray(sides[name]()) - expected).max()
            assert error < 1e-12 * np.abs(expected).max(), (name, error)
        found.append(("predict", batch, medians(sides, rounds * (4 if batch <= 1000 else 1))))
    return found


def refit(rounds: int) -> tuple[str, int, dict[str, float]]:
    draws = np.random.default_rng(1)
    library = build_library(LibrarySettings(), 5, 1)
    rows = draws.normal(size=(2000, 6))
    features = library.evaluate(list(torch.from_numpy(rows).T))
    weights = torch.zeros(5, len(library), dtype=torch.float64)
    weights[:, 1:12] = torch.from_numpy(draws.normal(size=(5, 11)))
    targets = features @ weights.T + 0.01 * torch.from_numpy(draws.normal(size=(2000, 5)))
    x, y = features.numpy(), targets.numpy()
    allowed = torch.ones_like(weights, dtype=torch.bool)

    def theirs() -> None:
        pysindy.EnsembleOptimizer(
            pysindy.STLSQ(threshold=0.05, alpha=1e-5),
            bagging=True,
            library_ensemble=True,
            n_models=20,
        ).fit(x, y)

    def ours() -> None:
        generator = torch.Generator().manual_seed(0)
        fit_members(
            Problem(features, targets, allowed),
            members=20,
            threshold=0.05,
            alpha=1e-5,
            normalize=False,
            weights=bags(2000, 20, generator=generator),
            num_dropped_terms=1,
            generator=generator,
        )

    return "refit", 2000, medians({"pysindy": theirs, "gram": ours}, max(3, rounds // 3))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = []
    for what, rows, times in [*prediction(options.rounds), refit(options.rounds)]:
        for name, seconds in times.items():
            ratio = times["pysindy"] / seconds
            lines.append(f"{what},{rows},{name},{seconds * 1e6:.1f},{ratio:.1f}")
            print(
                f"{what:8} {rows:7d} {name:10} {seconds * 1e6:11.1f} us  {ratio:7.1f}x", flush=True
            )
    command = "# python -m scripts.benchmarks.bench_sindy "
    command += " ".join(sys.argv[1:])
    header = "what,rows,side,microseconds,times_pysindy"
    OUT.write_text("\n".join([command.strip(), header, *lines]) + "\n")


if __name__ == "__main__":
    main()
