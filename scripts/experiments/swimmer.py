"""Compare sparse, hybrid and network models of Swimmer, by rollouts and by what is earned.

python -m scripts.experiments.swimmer models [--seeds 0 1 2] [--rows 4000]
python -m scripts.experiments.swimmer agents [--agents ...] [--seeds 0 1]

`models`: every model is fitted to the same transitions of held random actions; errors are root mean
squares over held-out sequences of another episode, in standard deviations, after 1, 10 and 50
steps. `agents`: the return of the last evaluation. Rows go to
results/experiments/swimmer_models.csv and results/experiments/swimmer.csv, replacing older ones of
the same name and seed.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mbrl
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble, ResidualDynamics, SINDy
from mbrl.dynamics.sindy import LibrarySettings, RegressionSettings
from mbrl.roles import Dynamics
from mbrl.types import Transitions

RESULTS = Path(__file__).parents[2] / "results" / "experiments"
STEPS = (1, 10, 50)
MODEL_FIELDS = ["model", "seed", "rows", *(f"error_{h}" for h in STEPS), "terms", "network_used",
                "cpu_seconds"]  # fmt: skip
AGENT_FIELDS = ["agent", "seed", "interactions", "return", "worst", "best", "cpu_seconds",
                "command"]  # fmt: skip
SAME = ["env=swimmer", "total_steps=4000", "eval_every=4000", "eval_episodes=2"]
AGENTS = {
    "random": ["agent=random"],
    "sindy_mpc": ["agent=sindy_mpc"],
    "hybrid_mpc": ["agent=sindy_mpc", "dynamics=sindy_residual",
                   "dynamics.sparse.library.interaction=false",
                   "dynamics.sparse.regression.threshold=0.02",
                   "dynamics.sparse.regression.alpha=0.5",
                   "dynamics.dense.training.max_updates=3000"],
    "ensemble_mpc": ["agent=sindy_mpc", "dynamics=ensemble", "dynamics.hidden=128",
                     "dynamics.num_layers=3", "dynamics.training.max_updates=3000"],
    "sindy_rl": ["agent=sindy_rl"],
    "sb3_sac": ["agent=sb3_sac"],
}  # fmt: skip


def collect(rows: int, seed: int) -> Transitions:
    """Take random actions, each held for 5 steps; episodes of 200."""
    env = mbrl.make_vec("Swimmer-v5", num_envs=1, seed=seed)
    draws = torch.Generator().manual_seed(seed)
    found, obs = [], env.reset(seed)
    action = obs.new_zeros(1, env.action.dim)
    for t in range(rows):
        if t % 200 == 0:
            obs = env.reset(seed + t)
        if t % 5 == 0:
            action = env.action.low + (env.action.high - env.action.low) * torch.rand(
                1, env.action.dim, generator=draws
            )
        step = env.step(action)
        number = torch.tensor([t // 200])
        found.append(
            Transitions(
                obs, action, step.reward, step.next_obs, step.terminated, step.truncated, number
            )
        )
        obs = step.obs
    env.close()
    return Transitions(*(torch.cat(parts) for parts in zip(*found, strict=True)))


@torch.no_grad()
def errors(model: Dynamics, held: Transitions) -> list[float]:
    """Roll out from every tenth row of held; give the error after each of STEPS."""
    begins = torch.arange(0, len(held.obs), 10)
    longest = max(STEPS)
    begins = begins[begins % 200 <= 200 - longest]
    spread = held.obs.std(0)
    state, found = model.initial(held.obs[begins]), []
    for t in range(longest):
        state, pred = model.step(state, held.action[begins + t])
        if t + 1 in STEPS:
            error: Tensor = (pred.next_obs - held.next_obs[begins + t]) / spread
            found.append(error.square().mean().sqrt().item())
    return found


def models(seed: int, rows: int) -> None:
    """Fit and compare."""
    env = mbrl.make_vec("Swimmer-v5", num_envs=1, seed=0)
    given = {"obs_dim": env.obs_dim, "action": env.action, "task": env.task}
    limits = {"joint_1": [-1.7, 1.7], "joint_2": [-1.7, 1.7]}  # the joints end there

    papers = {
        "library": LibrarySettings(interaction=False),
        "regression": RegressionSettings(threshold=0.02, alpha=0.5, limits=limits),
    }

    def sparse(**options: Any) -> SINDy:
        return SINDy(**given, **{"regression": RegressionSettings(limits=limits), **options})

    def dense() -> GaussianEnsemble:
        draws = torch.Generator().manual_seed(seed)
        return GaussianEnsemble(
            **given,
            hidden=128,
            num_layers=3,
            training=EnsembleTraining(max_updates=3000),
            generator=draws,
        )

    data, held = collect(rows, seed), collect(2000, 1000 + seed)
    for name, model in (
        ("sparse, quadratic", sparse()),
        ("sparse, quadratic, structured", sparse(structured=True)),
        ("sparse, as in the paper", sparse(**papers)),
        ("hybrid, as in the paper", ResidualDynamics(sparse=sparse(**papers), dense=dense())),
        (
            "hybrid, structured",
            ResidualDynamics(sparse=sparse(structured=True), dense=dense()),
        ),
        ("ensemble", dense()),
    ):
        begun = time.process_time()
        metrics = model.fit(data, generator=torch.Generator().manual_seed(seed))
        row = {"model": name, "seed": seed, "rows": rows}
        for steps, error in zip(STEPS, errors(model, held), strict=True):
            row[f"error_{steps}"] = float(f"{error:.3g}")
        row["terms"] = int(metrics.get("model/terms", 0))
        row["network_used"] = metrics.get("model/residual_used", float(name == "ensemble"))
        row["cpu_seconds"] = round(time.process_time() - begun, 1)
        print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
        keep(RESULTS / "swimmer_models.csv", MODEL_FIELDS, row, "models --seeds ...")


def train(agent: str, seed: int, folder: Path) -> None:
    """Train and keep the last evaluation."""
    arguments = [*AGENTS[agent], *SAME, f"seed={seed}"]
    path = folder / f"{agent}_{seed}"
    command = [sys.executable, "-m", "mbrl", "train", *arguments, f"run_dir={path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    last = json.loads((path / "summary.json").read_text())["evaluations"][-1]
    rewards = last["rewards"]
    row = {
        "agent": agent,
        "seed": seed,
        "interactions": last["step"],
        "return": round(sum(rewards) / len(rewards), 1),
        "worst": round(min(rewards), 1),
        "best": round(max(rewards), 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "command": "mbrl train " + " ".join(arguments),
    }
    print(f"{agent:12} seed {seed}  {row['return']}  {row['cpu_seconds']} CPU s", flush=True)
    keep(RESULTS / "swimmer.csv", AGENT_FIELDS, row, "agents --agents ... --seeds ...")


def keep(path: Path, fields: list[str], row: dict, how: str) -> None:
    """Put a row into a table."""
    name, rows = fields[0], [row]
    if path.exists():
        with path.open() as file:
            rows += [
                old
                for old in csv.DictReader(line for line in file if not line.startswith("#"))
                if (old[name], old["seed"]) != (row[name], str(row["seed"]))
            ]
    with path.open("w", newline="") as file:
        file.write(f"# python -m scripts.experiments.swimmer {how}\n")
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda r: (r[name], int(r["seed"]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("models", "agents"))
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", type=int, default=4000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            if options.what == "models":
                models(seed, options.rows)
            else:
                for agent in options.agents:
                    train(agent, seed, Path(folder))


if __name__ == "__main__":
    main()
