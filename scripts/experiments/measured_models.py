"""Fit every model to measured runs, and print its open-loop errors on held-out ones.

    python -m scripts.experiments.measured_models --data DIR [--sets ..] [--models ..] [--seeds ..]

DIR as in measured_data.py. Three runs of ten are held out. Errors are root mean squared ones over
all observations, in their standard deviations, after 1 to 50 steps; beside them the first step at
which a model is no better than predicting no change, and the shares of held-out steps inside its
68% and 95% intervals. Least squares has no seed. Rows in results/experiments/measured_models.csv
are kept, so that an interrupted call goes on.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import torch

from mbrl.data.logs.encoding import AngleEncoding
from mbrl.data.logs.split import RecordedData, recorded_data
from mbrl.recorded import ALL, config_of
from mbrl.report.log_accuracy import Accuracy, break_even_text, measure, measure_persistence
from scripts.experiments.measured_data import SETS, load_set

OUT = Path("results/experiments/measured_models.csv")
STEPS = (1, 5, 10, 20, 50)
COLUMNS = ("set", "model", "seed", *(f"after_{h}" for h in STEPS), "break_even", "in_68", "in_95")
COLUMNS += ("cpu_seconds",)
SETTINGS = ["ensemble.hidden=128", "ensemble.num_layers=3", "ensemble.num_members=5"]


def row_of(name: str, seed: int | str, found: Accuracy) -> list[Any]:
    """Return a row of the table."""
    errors = dict(zip(found.horizons, found.normalized.tolist(), strict=True))
    shares = ["", ""] if found.coverage is None else [f"{x:.3f}" for x in found.coverage]
    even = "" if found.name == "no change" else break_even_text(found)
    cells = [f"{errors[h]:.4g}" if h in errors else "" for h in STEPS]
    return [name, found.name, seed, *cells, even, *shares, f"{found.seconds:.1f}"]


def fitted(model: str, data: RecordedData, seed: int) -> Accuracy:
    """Fit a model with its default settings and measure it."""
    from mbrl.config import build_agent, make_env

    config = config_of(model, data, seed=seed, settings=SETTINGS)
    agent = build_agent(config, make_env(config))
    return measure(model, agent.dynamics, data, fit=agent.fit)


def main() -> None:
    """Fit what is missing, write the table, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", choices=ALL, default=list(ALL))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    if OUT.exists():
        with OUT.open(newline="") as file:
            rows = list(csv.reader(line for line in file if not line.startswith("#")))[1:]
    done = {tuple(map(str, row[:3])) for row in rows}
    for name in options.sets:
        log = load_set(options.data, name)
        encoding = AngleEncoding(tuple(log.obs_names), tuple(log.angles))
        data = recorded_data([(e.obs, e.action) for e in log.episodes], encoding)
        runs: list[tuple[str, int | str]] = [("no change", "")]
        for model in options.models:
            seeds = [""] if model.startswith("least_squares") else options.seeds
            runs += [(model, seed) for seed in seeds]
        for model, seed in runs:
            if (name, model, str(seed)) in done:
                continue
            found = (
                measure_persistence(data)
                if model == "no change"
                else fitted(model, data, int(seed or 0))
            )
            rows.append(row_of(name, seed, found))
            print("  ".join(map(str, rows[-1])), flush=True)
            order = ["no change", *ALL]
            rows.sort(key=lambda r: (SETS.index(r[0]), order.index(r[1]), str(r[2])))
            with OUT.open("w", newline="") as file:
                file.write("# python -m scripts.experiments.measured_models --data DIR\n")
                csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
