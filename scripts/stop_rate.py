"""How often a calibrated filter stops true transitions that it has not seen.

python scripts/stop_rate.py [--seeds 100 101 102 103 104] [--out results/stop_rate.csv]

The tasks are those of reward_consistency.py. Judges are fitted to three fifths of a seed's data,
the threshold is the 5% quantile of a fourth fifth. The rate is measured on the last fifth, where it
should be 5 +- 2%, and on episodes of another seed, with other starts, drawn the same way.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import torch
from reward_consistency_tasks import TASKS

from mbrl.dynamics import Christoffel, Contrastive, LearnedJudge, SINDy, SparseResidual
from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.edges import EdgeMembers
from mbrl.types import Transitions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(100, 105)))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["refrigerator", "pendulum"])
    parser.add_argument("--out", type=Path, default=Path("results/stop_rate.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for task in options.tasks:
        for seed in options.seeds:
            generator = torch.Generator().manual_seed(seed)
            setting = TASKS[task](seed, generator)
            fresh = TASKS[task](5000 + seed, torch.Generator().manual_seed(5000 + seed)).data
            n, env, data = setting.env.obs_dim, setting.env, setting.data
            fifth = torch.arange(len(data.reward)) % 5
            part, rest, held = (
                Transitions(*(x[mask] for x in data))
                for mask in (fifth < 3, fifth == 3, fifth == 4)
            )
            edges = EdgeMembers(n, env.action.dim, generator=generator)
            edges.fit(part, generator=generator)
            shape: dict[str, Any] = {"obs_dim": n, "action": env.action}
            sparse = SINDy(**shape, task=env.task, degree=3)
            judges: dict[str, LearnedJudge] = {
                "christoffel": Christoffel(**shape),
                "sindy residual": SparseResidual(obs_dim=n, sparse=sparse),
                "contrastive": Contrastive(**shape, generator=generator),
            }
            model: Dynamics = sparse  # these judges do not ask it
            for name, judge in judges.items():
                judge.fit(part, model, edges=edges, generator=generator)
                known = judge.reward(rest.obs, rest.action, rest.next_obs)
                threshold = torch.quantile(known.double(), 0.05)
                rates = [
                    (judge.reward(x.obs, x.action, x.next_obs) < threshold).double().mean().item()
                    for x in (held, fresh)
                ]
                rows.append([task, seed, name, *(f"{rate:.4f}" for rate in rates)])
                print(*rows[-1], flush=True)
    with options.out.open("w", newline="") as file:
        file.write(f"# python {' '.join(sys.argv)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["task", "seed", "judge", "held_out", "other_episodes"], *rows])


if __name__ == "__main__":
    main()
