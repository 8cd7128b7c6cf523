"""Calm the Kuramoto-Sivashinsky flow by several agents; print every seed and keep the table.

python -m scripts.experiments.flow [--agents none sindy_mpc ...] [--seeds 0 1 2]

Returns are minus the flow's energy (and a little effort) summed over 200 steps, the mean of 10
episodes that are the same for all agents of a seed; `left` is the share of what is paid without
control. The ensemble has the sparse model's data and planner. Rows go to
results/experiments/flow.csv, replacing older ones of the same agent and seed.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mbrl.envs import kuramoto_sivashinsky

RESULTS = Path(__file__).parents[2] / "results" / "experiments" / "flow.csv"
FIELDS = ["agent", "seed", "interactions", "return", "worst", "best", "left", "cpu_seconds",
          "command"]  # fmt: skip
AGENTS = {
    "none": [],
    "random": ["agent=random", "total_steps=200"],
    "sindy_mpc": ["agent=sindy_mpc"],
    "ensemble_mpc": ["agent=sindy_mpc", "dynamics=ensemble", "dynamics.hidden=128",
                     "dynamics.num_layers=3", "dynamics.reward=known",
                     "dynamics.training.max_updates=3000"],
    "sindy_rl": ["agent=sindy_rl"],
    "sb3_ppo": ["agent=sb3_ppo", "total_steps=100000", "eval_every=100000"],
}  # fmt: skip


def uncontrolled(seed: int) -> list[float]:
    """Give the returns of the evaluation's episodes without control."""
    env = kuramoto_sivashinsky(num_envs=10)
    env.reset(1_000_000 + 1_000 * seed)
    still = torch.zeros(10, env.action.dim)
    return torch.stack([env.step(still).reward for _ in range(200)]).sum(0).tolist()


def train(agent: str, seed: int, folder: Path) -> tuple[int, list[float], float, str]:
    """Train; give interactions, returns of the last evaluation, CPU seconds, the command."""
    arguments = [*AGENTS[agent], "env=kuramoto_sivashinsky", f"seed={seed}", "eval_episodes=10"]
    path = folder / f"{agent}_{seed}"
    command = [sys.executable, "-m", "mbrl", "train", *arguments, f"run_dir={path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    last = json.loads((path / "summary.json").read_text())["evaluations"][-1]
    cpu = usage.ru_utime + usage.ru_stime
    return last["step"], last["rewards"], cpu, "mbrl train " + " ".join(arguments)


def keep(row: dict) -> None:
    """Put a row into the table."""
    rows = [row]
    if RESULTS.exists():
        with RESULTS.open() as file:
            rows += [
                old
                for old in csv.DictReader(line for line in file if not line.startswith("#"))
                if (old["agent"], old["seed"]) != (row["agent"], str(row["seed"]))
            ]
    order = list(AGENTS)
    with RESULTS.open("w", newline="") as file:
        file.write("# python -m scripts.experiments.flow --agents ... --seeds ...\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda r: (order.index(r["agent"]), int(r["seed"]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            alone = uncontrolled(seed)
            for agent in options.agents:
                found = (0, alone, 0.0, "actions of 0")
                if agent != "none":
                    found = train(agent, seed, Path(folder))
                step, rewards, cpu, command = found
                mean = sum(rewards) / len(rewards)
                row = {
                    "agent": agent,
                    "seed": seed,
                    "interactions": step,
                    "return": round(mean, 1),
                    "worst": round(min(rewards), 1),
                    "best": round(max(rewards), 1),
                    "left": round(mean / (sum(alone) / len(alone)), 3),
                    "cpu_seconds": round(cpu, 1),
                    "command": command,
                }
                print(f"{agent:12} seed {seed}  {row['return']} ({row['left']:.0%})", flush=True)
                keep(row)


if __name__ == "__main__":
    main()
