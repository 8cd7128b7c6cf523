"""Count interactions until a return is reached for the first time; every seed, one table.

python -m scripts.experiments.interactions [--agents sindy_rl sb3_ppo ...] [--seeds 0 1 2] [--budget
    200000]
                               [--runs DIR]

Cart-pole swing-up, a mean return of 700 over 5 episodes. Each run is one `mbrl train` process on
one thread, with its preset where there is one, evaluated every so many interactions and stopped
as soon as it gets there. A run that does not get there is censored: `reached` is empty, and
`interactions` is the budget it was given (`--budget` sets that of all agents named). --runs DIR
keeps run folders as AGENT_ENV_SEED and takes those that are there. Rows go to
results/experiments/interactions.csv, replacing older ones of the same agent and seed.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results" / "experiments" / "interactions.csv"
ENV, GOAL = "cartpole_swingup", 700.0
FIELDS = [
    "agent", "seed", "reached", "interactions", "best_return", "evaluated_every", "cpu_seconds",
    "command",
]  # fmt: skip
AGENTS = {  # budget, interactions between evaluations, further settings
    "sindy_rl": (1600, 400, []),
    "sindy_mpc": (1800, 300, []),
    "mbpo": (20_000, 1000, ["learner.hidden=64", "learner.learning_rate=1e-3",
                            "dynamics.hidden=128", "dynamics.num_layers=3",
                            "dynamics.training.max_updates=2000"]),
    "sac": (100_000, 2500, ["learner.hidden=64", "learner.learning_rate=1e-3"]),
    "sb3_ppo": (2_000_000, 10_000, []),
}  # fmt: skip


def evaluations(path: Path) -> list[tuple[int, float]]:
    """Read (interactions, mean return) of a run so far."""
    found = []
    if (path / "metrics.jsonl").exists():
        for line in (path / "metrics.jsonl").read_text().splitlines(keepends=True):
            row = json.loads(line) if line.endswith("\n") else {}
            if "eval/mean_reward" in row:
                found.append((row["step"], row["eval/mean_reward"]))
    return found


def run(agent: str, seed: int, budget: int, runs: Path) -> dict:
    """Train until the goal or the budget."""
    usual, every, extra = AGENTS[agent]
    path = runs / f"{agent}_{ENV}_{seed}"
    arguments = [
        f"agent={agent}", f"env={ENV}", f"seed={seed}", f"total_steps={budget}",
        f"eval_every={every}", "eval_episodes=5", *extra,
    ]  # fmt: skip
    cpu: float | str = ""
    if not path.exists():
        command = [sys.executable, "-m", "mbrl", "train", *arguments, f"run_dir={path}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while True:
            done, _, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            if any(reward >= GOAL for _, reward in evaluations(path)):
                process.send_signal(signal.SIGTERM)  # saves and stops
                _, _, usage = os.wait4(process.pid, 0)
                break
            time.sleep(2)
        cpu = round(usage.ru_utime + usage.ru_stime, 1)
    found = evaluations(path)
    if not found:
        raise SystemExit(f"{path}: the run has no evaluation")
    reached = [step for step, reward in found if reward >= GOAL]
    return {
        "agent": agent,
        "seed": seed,
        "reached": reached[0] if reached else "",
        "interactions": reached[0] if reached else found[-1][0],
        "best_return": round(max(reward for _, reward in found), 1),
        "evaluated_every": every,
        "cpu_seconds": cpu,
        "command": "mbrl train " + " ".join(arguments),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=int, help="interactions at most")
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for agent in options.agents:
            for seed in options.seeds:
                budget = options.budget or AGENTS[agent][0]
                row = run(agent, seed, budget, options.runs or Path(folder))
                said = row["reached"] or f"not within {row['interactions']}"
                print(f"{agent:10} seed {seed}  {said}  best {row['best_return']}", flush=True)
                keep(row)


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
        file.write("# python -m scripts.experiments.interactions --agents ... --seeds ...\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda r: (order.index(r["agent"]), int(r["seed"]))))


if __name__ == "__main__":
    main()
