"""MBPO and COPlanner on Hopper-v5 with their papers' settings, side by side on one GPU.

    python -m scripts.experiments.hopper_gpu --seconds 500 [--alone 120] [--device cuda] [--runs
        DIR]

A process a run, all at once, until the time is up. For the first seconds, --alone, the first seed's
runs have the GPU to themselves; then they are stopped and resumed from their checkpoints beside the
others. Called again with the same --runs all go on. Writes results/experiments/hopper_gpu.csv: a
row an evaluation, with the wall clock of the run up to it and the steps per second since the one
before.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIELDS = ["agent", "seed", "step", "return", "std", "wall_seconds", "cpu_seconds"]
FIELDS += ["steps_per_second", "device", "command"]


def command(agent: str, seed: int, device: str) -> list[str]:
    """Give the arguments of a new run."""
    paper = f"experiment={agent}_hopper_paper"
    return ["train", f"agent={agent}", "env=hopper", paper, f"device={device}", f"seed={seed}"]


def begin(agent: str, seed: int, device: str, folder: Path) -> subprocess.Popen:
    """Begin or resume a run."""
    path = folder / f"{agent}-{seed}"
    arguments = [*command(agent, seed, device), f"run_dir={path}", "log_every=250"]
    if (path / "checkpoints").exists():
        arguments = ["train", "--resume", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "mbrl", *arguments], env=environment)


def sitting(agents: list[str], seeds: list[int], device: str, folder: Path, seconds: float) -> None:
    """Let all runs go on for so long, then ask each to save and stop."""
    runs = [begin(agent, seed, device, folder) for seed in seeds for agent in agents]
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(run.poll() is None for run in runs):
        time.sleep(0.5)
    for run in runs:
        if run.poll() is None:
            run.send_signal(signal.SIGTERM)
    for run in runs:
        if run.wait() not in (0, 130):  # 130: stopped by a signal, its state saved
            raise SystemExit(f"{run.args} ended with {run.returncode}")


def rows(agent: str, seed: int, device: str, folder: Path) -> list[dict]:
    """Read the evaluations of a run, the rate since the one before with each."""
    found, before = [], (0, 0.0)
    for line in (folder / f"{agent}-{seed}" / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "eval/mean_reward" not in row:
            continue
        now = row["step"], row["time/wall_seconds"]
        rate = (now[0] - before[0]) / (now[1] - before[1])
        values = [agent, seed, now[0], f"{row['eval/mean_reward']:.1f}"]
        values += [f"{row['eval/std_reward']:.1f}", f"{now[1]:.1f}"]
        values += [f"{row['time/cpu_seconds']:.1f}", f"{rate:.1f}", device]
        found.append(dict(zip(FIELDS, [*values, _shown(agent, seed, device)], strict=True)))
        before = now
    return found


def _shown(agent: str, seed: int, device: str) -> str:
    return " ".join(["mbrl", *command(agent, seed, device)])


def main() -> None:
    """Run, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--alone", type=float, default=120)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--agents", nargs="+", default=["mbpo", "coplanner"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "hopper_gpu")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "experiments" / "hopper_gpu.csv"
    )
    options = parser.parse_args()
    sittings = [
        (options.seeds[:1], options.alone),
        (options.seeds, options.seconds - options.alone),
    ]
    for seeds, seconds in sittings:
        if seconds > 0:
            sitting(options.agents, seeds, options.device, options.runs, seconds)
    with options.out.open("w", newline="") as file:
        times = f"--seconds {options.seconds:g} --alone {options.alone:g}"
        file.write(f"# python -m scripts.experiments.hopper_gpu {times}\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for agent in options.agents:
            for seed in options.seeds:
                writer.writerows(rows(agent, seed, options.device, options.runs))
    print(options.out.read_text())


if __name__ == "__main__":
    main()
