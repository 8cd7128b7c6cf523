"""What ReLUs cost: model error and closed-loop cost of pushing against the ReLU budget.

One seed collects 12000 transitions by nudging (env=push), fits all models with equal CPU time or
less for the pruned, and runs CEM on each from the same 60 starts. "direct" networks are trained
with few ReLUs from the beginning, in one layer or two. `--plot` draws docs/relu_budget.png.

    python -m scripts.experiments.relu_budget --seeds 0 1 2 3 4 --out
        results/experiments/relu_budget.csv
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mbrl.agents import MPC
from mbrl.dynamics import SparseReLU
from mbrl.types import Transitions, sequences
from scripts.experiments import push_control

HIDDEN, STAGES = (32, 32), (32, 16, 8, 4)
DENSE, STAGE = 1000, 1000  # gradient steps
FIELDS = ["seed", "model", "relus", "mse_1", "mse_4", "cm_1", "cm_4", "fit_cpu_s", "cost", "within"]


@torch.no_grad()
def errors(model: SparseReLU, data: Transitions) -> dict[str, float]:
    """Measure along 4-step rollouts: squared errors in variances of a step's change, and cm."""
    rows = sequences(data, 4)
    belief, found = model.initial(data.obs[rows[:, 0]]), {}
    variance = (data.next_obs - data.obs).var(0, correction=0)
    for t in range(4):
        belief, seen = model.step(belief, data.action[rows[:, t]])
        missed = seen.next_obs - data.next_obs[rows[:, t]]
        if t in (0, 3):
            found[f"mse_{t + 1}"] = (missed.square() / variance).mean().item()
            found[f"cm_{t + 1}"] = missed.norm(dim=1).mean().item()
    return found


def control(model: Any, seed: int, episodes: int = 60) -> dict[str, float]:
    """Run CEM on a model from the starts of a seed: mean cost, share within 2 cm at the end."""
    env = push_control.make("push", episodes)
    agent = MPC(
        action=env.action, dynamics=model, planner=push_control.planner("cem", env, 5),
        learning_starts=1, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    found = push_control.run(env, lambda obs: agent.act(obs, explore=False), seed, 0)
    env.close()
    return {"cost": found["cost"], "within": found["success"]}


def study(seed: int) -> list[dict[str, Any]]:
    """Fit and run every model of a seed."""
    env = push_control.make("push", 1)
    data = push_control.collect("push", 12_000, seed)
    test = push_control.collect("push", 6_000, seed + 500)
    whole = DENSE + 2 * STAGE
    models: dict[str, dict[str, Any]] = {"full": {"schedule": (), "dense_updates": whole}}
    for end in (1, 2, 3, 4):
        models[f"pruned {STAGES[end - 1]}"] = {"schedule": STAGES[:end]}
    for hidden in ((16,), (8, 8)):
        # half as many updates again take the CPU time of the pruned
        options = {"hidden": hidden, "schedule": (), "dense_updates": whole * 3 // 2}
        models[f"direct {'+'.join(map(str, hidden))}"] = options
    rows = []
    for name, options in models.items():
        options = {"hidden": HIDDEN, "dense_updates": DENSE, "stage_updates": STAGE, **options}
        began = time.process_time()
        model = SparseReLU(
            obs_dim=env.obs_dim, action=env.action, task=env.task,
            generator=torch.Generator().manual_seed(seed), **options,
        )  # fmt: skip
        fit = model.fit(data, generator=torch.Generator().manual_seed(seed + 1))
        taken = time.process_time() - began
        row = {"seed": seed, "model": name, "relus": int(fit["model/relus"]), "fit_cpu_s": taken}
        row |= errors(model, test) | control(model, seed)
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        print(rows[-1], flush=True)
    return rows


def plot(source: Path, target: Path) -> None:
    """Draw closed-loop cost and success against the budget."""
    import matplotlib.pyplot as plt

    with source.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for axis, key, label in zip(
        axes,
        ("mse_4", "cost", "within"),
        ("4-step error (variances of a step)", "closed-loop cost", "within 2 cm"),
        strict=True,
    ):
        for group, mark in (("pruned", "o-"), ("direct", "s")):
            mine = [r for r in rows if r["model"].startswith((group, "full"))]
            mine = mine if group == "pruned" else [r for r in mine if r["model"] != "full"]
            names = sorted({(int(r["relus"]), r["model"]) for r in mine})
            points = [[float(r[key]) for r in mine if r["model"] == n] for _, n in names]
            means = [sum(p) / len(p) for p in points]
            axis.plot([n for n, _ in names], means, mark, label=group)
            for (n, _), values in zip(names, points, strict=True):
                axis.plot([n] * len(values), values, ".", color="grey", markersize=4)
        axis.set(xscale="log", xlabel="ReLUs", ylabel=label)
        axis.set_xticks([4, 8, 16, 32, 64], labels=["4", "8", "16", "32", "64"])
        axis.minorticks_off()
    axes[0].set_yscale("log")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    """Run the study, or draw what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("results/experiments/relu_budget.csv"))
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    if given.plot:
        plot(given.out, Path("docs/relu_budget.png"))
        return
    torch.set_num_threads(1)
    rows = [row for seed in given.seeds for row in study(seed)]
    with given.out.open("w", newline="") as file:
        file.write(f"# python -m scripts.experiments.relu_budget {shlex.join(sys.argv[1:])}\n")
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
