"""How often a calibrated filter stops true transitions that it has not seen.

python -m scripts.experiments.stop_rate [--seeds 100 101 102 103 104] [--out
    results/experiments/stop_rate.csv]

The tasks are those of reward_consistency.py. Rewards are fitted to three fifths of a seed's data,
the threshold is the 5% quantile of a fourth fifth. The rate is measured on the last fifth, where it
should be 5 +- 2%, and on episodes of another seed, with other starts, drawn the same way.

A filter never rewards true transitions but its own choices. For the Christoffel reward the table
goes on with those that a filter of wide candidates makes on the last fifth and outside the data,
its threshold calibrated on the "data" of the fourth fifth or on what is "selected" there: how many
are stopped of either, and the errors, in deviations of a change, of those outside that are kept and
stopped.
--noise is that of the labels. The first rates are of true transitions, whatever the calibration.
"""

import argparse
import csv
import itertools
import sys
from pathlib import Path
from typing import Any

import torch

from mbrl.dynamics import (
    ChristoffelReward,
    ContrastiveReward,
    GaussianEnsemble,
    LearnedDynamicsReward,
    RewardConsistent,
    SINDy,
    SparseResidualReward,
)
from mbrl.dynamics.sindy import LibrarySettings
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.roles import Dynamics
from mbrl.types import Transitions
from scripts.experiments.reward_consistency import ENSEMBLE
from scripts.experiments.reward_consistency_tasks import TASKS, Setting


def choices(
    setting: Setting, seen: Transitions, held: Transitions, calibration: Any, seed: int
) -> list[float]:
    """Return the share of choices stopped on held rows, outside, and the errors there."""
    env, draw = setting.env, torch.Generator().manual_seed(seed)
    shape: dict[str, Any] = {"obs_dim": env.obs_dim, "action": env.action, "task": env.task}
    model = RewardConsistent(
        **shape,
        base=GaussianEnsemble(**shape, generator=draw, **ENSEMBLE),
        dynamics_reward=ChristoffelReward(obs_dim=env.obs_dim, action=env.action),
        generator=draw,
        calibration=calibration,
    )
    model.fit(seen, generator=draw)
    obs, action = setting.obs[:-1].flatten(0, 1), setting.action.flatten(0, 1)
    kept = model.step(model.initial(held.obs), held.action, generator=draw)[1].valid
    pred = model.step(model.initial(obs), action, generator=draw)[1]
    scale = (seen.next_obs - seen.obs).std(0)
    wrong = ((pred.next_obs - setting.obs[1:].flatten(0, 1)) / scale).square().mean(1).sqrt()
    errors = [wrong[rows].mean().item() for rows in (pred.valid, ~pred.valid)]
    return [1 - kept.double().mean().item(), 1 - pred.valid.double().mean().item(), *errors]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(100, 105)))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["refrigerator", "pendulum"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.05])
    parser.add_argument("--out", type=Path, default=Path("results/experiments/stop_rate.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for task, noise in itertools.product(options.tasks, options.noise):
        for seed in options.seeds:
            generator = torch.Generator().manual_seed(seed)
            setting = TASKS[task](seed, generator)
            fresh = TASKS[task](5000 + seed, torch.Generator().manual_seed(5000 + seed)).data
            n, env, data = setting.env.obs_dim, setting.env, setting.data
            if noise:
                draw = torch.randn(data.obs.shape, generator=generator)
                spread = noise * (data.next_obs - data.obs).std(0)
                data = data._replace(next_obs=data.next_obs + spread * draw)
            fifth = torch.arange(len(data.reward)) % 5
            part, rest, held = (
                Transitions(*(x[mask] for x in data))
                for mask in (fifth < 3, fifth == 3, fifth == 4)
            )
            holdout_ensemble = TailHoldoutEnsemble(n, env.action.dim, generator=generator)
            holdout_ensemble.fit(part, generator=generator)
            shape: dict[str, Any] = {"obs_dim": n, "action": env.action}
            sparse = SINDy(**shape, task=env.task, library=LibrarySettings(degree=3))
            dynamics_rewards: dict[str, LearnedDynamicsReward] = {
                "christoffel": ChristoffelReward(**shape),
                "sindy residual": SparseResidualReward(obs_dim=n, sparse=sparse),
                "contrastive": ContrastiveReward(**shape, generator=generator),
            }
            model: Dynamics = sparse  # these rewards do not ask it
            for name, dynamics_reward in dynamics_rewards.items():
                dynamics_reward.fit(
                    part, model, holdout_ensemble=holdout_ensemble, generator=generator
                )
                known = dynamics_reward.reward(rest.obs, rest.action, rest.next_obs)
                threshold = torch.quantile(known.double(), 0.05)
                rates = [
                    (rewards < threshold).double().mean().item()
                    for x in (held, fresh)
                    for rewards in [dynamics_reward.reward(x.obs, x.action, x.next_obs)]
                ]
                told = [f"{rate:.4f}" for rate in rates]
                found = [("data", [*told, *[""] * 4])]
                if name == "christoffel":
                    seen = Transitions(*(x[fifth < 4] for x in data))
                    found = [
                        (calibration, [*told, *(f"{value:.4f}" for value in values)])
                        for calibration in ("data", "selected")
                        for values in [choices(setting, seen, held, calibration, seed)]
                    ]
                for calibration, values in found:
                    rows.append([task, noise, seed, name, calibration, *values])
                    print(*rows[-1], flush=True)
    with options.out.open("w", newline="") as file:
        file.write(f"# python -m scripts.experiments.stop_rate {' '.join(sys.argv[1:])}\n")
        writer = csv.writer(file, lineterminator="\n")
        head = ["task", "noise", "seed", "dynamics_reward", "calibration"]
        head += ["held_out", "other_episodes"]
        more = ["choices_held", "choices_outside", "error_kept", "error_stopped"]
        writer.writerows([[*head, *more], *rows])


if __name__ == "__main__":
    main()
