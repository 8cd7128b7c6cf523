"""MBPO with and without the transition filter, online; print every seed and keep the table.

python -m scripts.experiments.filter_online [--envs pendulum cartpole_swingup] [--seeds 0 1 2 3 4]
    [--jobs 1]

Both have the same ensemble; the filter adds a wide pool, the Christoffel judge and its stop. Rows,
one per evaluation, go to results/experiments/filter_online.csv; runs that are in it are not done
again.
"""

import argparse
import csv
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.experiments.learning import FIELDS, run_seed

RESULTS = Path(__file__).parents[2] / "results" / "experiments" / "filter_online.csv"
ENSEMBLE = {"hidden": 64, "num_layers": 3, "training.max_updates": 1000}
METHODS = {
    "mbpo": [f"dynamics.{key}={value}" for key, value in ENSEMBLE.items()],
    "mbpo + filter": [
        "dynamics=reward_consistent",
        *(f"dynamics.base.{key}={value}" for key, value in ENSEMBLE.items()),
    ],
}
LENGTHS = {"pendulum": 2500, "cartpole_swingup": 4000}
SAME = ["learner.hidden=64", "agent.num_rollouts=2000", "eval_every=250"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", nargs="+", choices=LENGTHS, default=["pendulum"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[dict] = []
    if options.results.exists():
        with options.results.open() as file:
            rows += csv.DictReader(line for line in file if not line.startswith("#"))
    done = {(row["agent"], row["env"], int(row["seed"])) for row in rows}
    lock = threading.Lock()

    def finish(method: str, env: str, seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            extra = ["experiment=none", f"total_steps={LENGTHS[env]}", *SAME, *METHODS[method]]
            found = run_seed("mbpo", env, seed, extra, Path(folder))
        with lock:
            rows.extend({**row, "agent": method} for row in found)
            rows.sort(
                key=lambda row: (row["env"], row["agent"], int(row["seed"]), int(row["step"]))
            )
            with options.results.open("w", newline="") as file:
                file.write("# python -m scripts.experiments.filter_online\n")
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            curve = " ".join(f"{row['mean_reward']:.0f}" for row in found)
            print(
                f"{env} {method} seed {seed}: {curve}, {found[0]['cpu_seconds']} CPU s", flush=True
            )

    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(finish, method, env, seed)
            for env in options.envs
            for seed in options.seeds
            for method in METHODS
            if (method, env, seed) not in done
        ]
        for job in jobs:
            job.result()


if __name__ == "__main__":
    main()
