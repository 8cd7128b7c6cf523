"""Train ten agents briefly and print hashes of what they end with.

    python -m scripts.robustness.same_results [--only NAME ...] [--out FILE] [--against FILE]

A change that only moves or renames code leaves every hash as it was. `rewards` is the hash of all
evaluation returns of the run, `weights` that of the arrays in the agent's last checkpoint
(networks, coefficients, imagined rows), sorted, so that renamed keys do not count. Everything runs
on one CPU thread; another kind of processor or another version of torch may give other hashes. With
--against, names what differs from FILE, a table made by --out, and exits with status 1.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.numpy

PENDULUM = ["env=pendulum", "eval_episodes=2"]
DATA = "same/pendulum-v0"
RUNS = {
    "sb3_sac": ["agent=sb3_sac", *PENDULUM, "total_steps=500"],
    "mbpo": ["agent=mbpo", *PENDULUM, "total_steps=600"],
    "coplanner": ["agent=coplanner", "env=pendulum_sparse", "total_steps=500", "eval_episodes=2"],
    "pets": ["agent=pets", *PENDULUM, "total_steps=400", "planner.num_samples=100"],
    "sindy_mpc": ["agent=sindy_mpc", "env=cartpole_swingup", "total_steps=400", "eval_episodes=1"],
    "sindy_rl": [
        *["agent=sindy_rl", *PENDULUM, "total_steps=400", "eval_every=200"],
        "agent.updates_per_refit=2",
    ],
    "mip_mpc": [
        *["agent=mip_mpc", "env=push", "total_steps=2000", "eval_every=2000", "eval_episodes=1"],
        *["agent.learning_starts=2000", "agent.retrain_interval=2000"],
        *["dynamics.dense_updates=300", "dynamics.stage_updates=300", "planner.max_nodes=5"],
    ],
    "mopo": ["agent=mopo", *PENDULUM, f"dataset={DATA}", "total_steps=600", "learner.hidden=64"],
    "morec": [
        *["agent=morec", *PENDULUM, f"dataset={DATA}", "total_steps=400", "learner.hidden=64"],
        *["agent.rollout_length=20", "agent.num_rollouts=100"],
    ],
    "iql": ["agent=iql", *PENDULUM, f"dataset={DATA}", "total_steps=600"],
}
OFFLINE = ("mopo", "morec", "iql")
HEAD = "# python -m scripts.robustness.same_results --out results/robustness/same_results.csv"


def mbrl(folder: Path, *arguments: str) -> None:
    """Run the command line; what it prints is shown if it fails."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MINARI_DATASETS_PATH": str(folder / "datasets"),
    }
    command = [sys.executable, "-m", "mbrl", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def hashes(run: Path) -> dict[str, str]:
    """Return the hashes of a finished run's evaluations and of its last checkpoint."""
    summary = json.loads((run / "summary.json").read_text())
    rewards = json.dumps([row["rewards"] for row in summary["evaluations"]])
    newest = max((run / "checkpoints").iterdir())
    arrays = [
        hashlib.sha256(x.tobytes()).hexdigest()
        for x in safetensors.numpy.load_file(newest / "agent.safetensors").values()
        if x.size > 8 and x.dtype.kind == "f"
    ]
    return {
        "rewards": hashlib.sha256(rewards.encode()).hexdigest()[:16],
        "weights": hashlib.sha256("".join(sorted(arrays)).encode()).hexdigest()[:16],
    }


def main() -> int:
    """Train, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if set(options.only) & set(OFFLINE):
            source = folder / "source"
            mbrl(
                *[folder, "train", "agent=random", *PENDULUM, "total_steps=200"],
                f"run_dir={source}",
            )
            mbrl(folder, "collect", str(source), "--steps", "1000", "--id", DATA)
        for key in options.only:
            mbrl(folder, "train", *RUNS[key], "seed=0", f"run_dir={folder / key}")
            results[key] = hashes(folder / key)
            print(key, *results[key].values(), flush=True)
    if options.out:
        rows = [f"{key},{row['rewards']},{row['weights']}" for key, row in results.items()]
        options.out.write_text("\n".join([HEAD, "method,rewards,weights", *rows, ""]))
    if options.against:
        _, *lines = options.against.read_text().splitlines()
        before = {row.pop("method"): row for row in csv.DictReader(lines)}
        differing = [key for key, value in results.items() if before[key] != value]
        print(f"{len(differing)} of {len(results)} differ: {' '.join(differing)}")
        return bool(differing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
