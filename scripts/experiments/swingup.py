"""Swing the cart-pole up within 900 steps by one planner on several models; print every seed.

python -m scripts.experiments.swingup [--models sparse ensemble simulator] [--seeds 0 1 2 3 4]

The planner and the data are those of agent=sindy_mpc; `ratio` is the return over the mean of the
same planner on the true simulator. Rows go to results/experiments/swingup.csv, replacing older ones
of the same model and seed.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results" / "experiments" / "swingup.csv"
FIELDS = ["model", "seed", "interactions", "return", "worst", "best", "ratio", "cpu_seconds",
          "command"]  # fmt: skip
MODELS = {
    "sparse": [],
    "ensemble": ["dynamics=ensemble", "dynamics.hidden=128", "dynamics.num_layers=3",
                 "dynamics.reward=known", "dynamics.training.max_updates=4000"],
    "simulator": ["dynamics=simulator", "total_steps=1"],
}  # fmt: skip


def train(model: str, seed: int, folder: Path, episodes: int) -> dict:
    """Train; give the row of the last evaluation."""
    arguments = ["agent=sindy_mpc", *MODELS[model], "env=cartpole_swingup", f"seed={seed}",
                 f"eval_episodes={episodes}"]  # fmt: skip
    path = folder / f"{model}_{seed}"
    command = [sys.executable, "-m", "mbrl", "train", *arguments, f"run_dir={path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    last = json.loads((path / "summary.json").read_text())["evaluations"][-1]
    rewards = last["rewards"]
    return {
        "model": model,
        "seed": seed,
        "interactions": 0 if model == "simulator" else last["step"],
        "return": round(sum(rewards) / len(rewards), 1),
        "worst": round(min(rewards), 1),
        "best": round(max(rewards), 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "command": "mbrl train " + " ".join(arguments),
    }


def keep(row: dict) -> None:
    """Put a row into the table; take the ratios anew."""
    rows = [row]
    if RESULTS.exists():
        with RESULTS.open() as file:
            rows += [
                old
                for old in csv.DictReader(line for line in file if not line.startswith("#"))
                if (old["model"], old["seed"]) != (row["model"], str(row["seed"]))
            ]
    true = [float(r["return"]) for r in rows if r["model"] == "simulator"]
    for r in rows:
        r["ratio"] = round(float(r["return"]) * len(true) / sum(true), 3) if true else ""
    order = list(MODELS)
    with RESULTS.open("w", newline="") as file:
        file.write("# python -m scripts.experiments.swingup --models ... --seeds ...\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda r: (order.index(r["model"]), int(r["seed"]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--episodes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            for seed in options.seeds:
                row = train(model, seed, Path(folder), options.episodes)
                print(f"{model:10} seed {seed}  {row['return']} ({row['worst']}-{row['best']})  "
                      f"{row['cpu_seconds']} CPU s", flush=True)  # fmt: skip
                keep(row)


if __name__ == "__main__":
    main()
