"""Compare sparse, hybrid and network models of Swimmer by their rollouts.

    python -m scripts.experiments.swimmer_models [--seeds 0 1 2] [--rows 4000]

Every model is fitted to the same transitions of held random actions; errors are root mean squares
over held-out sequences of another episode, in standard deviations, after 1, 10 and 50 steps. Rows
go to results/experiments/swimmer_models.csv, replacing older ones of the same model and seed. What
is earned with such models is specs/swimmer.yaml.
"""

import argparse
import time
from typing import Any

import torch
from torch import Tensor

import mbrl
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble, ResidualDynamics, SINDy
from mbrl.dynamics.sindy import LibrarySettings, RegressionSettings
from mbrl.roles import Dynamics
from mbrl.types import Transitions
from scripts.experiments.study import RESULTS
from scripts.experiments.table import read_table, write_table

OUT = RESULTS / "swimmer_models.csv"
STEPS = (1, 10, 50)
FIELDS = ["model", "seed", "rows", *(f"error_{h}" for h in STEPS), "terms", "network_used",
                "cpu_seconds"]  # fmt: skip


def collect(rows: int, seed: int) -> Transitions:
    """Collect random actions, each held for 5 steps; episodes of 200."""
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
    """Roll out from every tenth row of held and return the error after each of STEPS."""
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


def compare(seed: int, rows: int) -> list[dict[str, Any]]:
    """Fit every model to the same rows, and return a row of the table for each."""
    result: list[dict[str, Any]] = []
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
        result.append(row)
    return result


def main() -> None:
    """Fit and compare for every seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=4000)
    options = parser.parse_args()
    for seed in options.seeds:
        rows = compare(seed, options.rows)
        done = {(row["model"], str(seed)) for row in rows}
        rows += [row for row in read_table(OUT) if (row["model"], row["seed"]) not in done]
        rows.sort(key=lambda row: (row["model"], int(row["seed"])))
        write_table(OUT, "python -m scripts.experiments.swimmer_models", FIELDS, rows)


if __name__ == "__main__":
    main()
