"""What a transition filter costs, against evaluating all elites of its ensemble.

python -m scripts.benchmarks.bench_filter [--rows 1024] [--repeats 15] [--out
    results/benchmarks/filter_cost.csv]

A model of Hopper's size (11 observations, 3 actions), 7 members, 5 elites, 4 layers, by width. Each
repeat times every variant once, in turn, in CPU seconds; the ratio is of the medians. "all elites"
is one evaluation of the five means, as any candidate must have; "one elite" is a plain step.
"""

import argparse
import csv
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mbrl.dynamics import (
    AdversarialReward,
    CandidateGenerator,
    ChristoffelReward,
    DistilledReward,
    DynamicsReward,
    EnsembleTraining,
    GaussianEnsemble,
    RandomReward,
    RewardConsistent,
)
from mbrl.types import ActionSpec, Task, Transitions

OBS, ACT = 11, 3


def make(width: int, generator: torch.Generator) -> dict[str, Callable[[Any, Any], Any]]:
    """Fit small parts to linear data; give the variants to time."""
    spec = ActionSpec("continuous", -torch.ones(ACT), torch.ones(ACT))
    shape: dict[str, Any] = {"obs_dim": OBS, "action": spec}
    draw: dict[str, Any] = {"generator": generator}
    task = Task(
        reward=lambda s, a, n: n[:, 0], terminated=lambda s, a, n: torch.zeros(len(s)).bool()
    )
    obs, action = torch.randn(2000, OBS, **draw), torch.randn(2000, ACT, **draw)
    after = obs + 0.1 * torch.cat([obs, action], 1) @ torch.randn(OBS + ACT, OBS, **draw)
    zero = torch.zeros(2000)
    data = Transitions(obs, action, zero, after, zero.bool(), zero.bool(), zero.long())
    base = GaussianEnsemble(
        **shape,
        task=task,
        **draw,
        hidden=width,
        reward="known",
        training=EnsembleTraining(min_updates=10, max_updates=10),
    )
    base.fit(data, generator=generator)
    settings: Any = {"num_updates": 20}
    generators = {
        kind: CandidateGenerator(**shape, task=task, **draw, kind=kind, holdout_ensemble=settings)
        for kind in ("plain", "wide")
    }
    generators["wide"].fit(data, with_holdout_ensemble=True, generator=generator)
    gan = AdversarialReward(**shape, **draw, num_updates=40)
    dynamics_rewards: dict[str, DynamicsReward] = {
        "random": RandomReward(OBS),
        "distilled": DistilledReward(**shape, **draw, teacher=gan, num_updates=20),
        "christoffel": ChristoffelReward(**shape, degrees=(1, 2)),
    }
    for dynamics_reward in dynamics_rewards.values():
        dynamics_reward.fit(
            data, base, holdout_ensemble=generators["wide"].holdout_ensemble, generator=generator
        )
    dynamics_rewards["adversarial"] = gan

    def elites(obs: Any, action: Any) -> Any:
        return base.candidates_with_means(base.initial(obs), action, 0, 5, generator=None)

    def elite(obs: Any, action: Any) -> Any:
        return base.step(base.initial(obs, generator=generator), action, generator=generator)

    found = {"all elites": elites, "one elite": elite}
    for kind, name in (
        ("plain", "random"), ("plain", "distilled"), ("plain", "adversarial"),
        ("plain", "christoffel"), ("wide", "distilled"), ("wide", "adversarial"),
        ("wide", "christoffel"),
    ):  # fmt: skip
        model = RewardConsistent(
            **shape,
            task=task,
            base=base,
            dynamics_reward=dynamics_rewards[name],
            candidates=generators[kind],
            **draw,
        )

        def step(obs: Any, action: Any, model: RewardConsistent = model) -> Any:
            return model.step(model.initial(obs), action, generator=generator)

        found[f"{name}, {kind}"] = step
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--widths", nargs="+", type=int, default=[64, 128, 200, 400])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/filter_cost.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for width in options.widths:
        generator = torch.Generator().manual_seed(0)
        variants = make(width, generator)
        obs = torch.randn(options.rows, OBS, generator=generator)
        action = torch.randn(options.rows, ACT, generator=generator)
        spent: dict[str, list[float]] = {name: [] for name in variants}
        with torch.no_grad():
            for repeat in range(options.repeats + 1):
                for name, step in variants.items():
                    began = time.process_time()
                    step(obs, action)
                    if repeat:  # the first warms up
                        spent[name].append(time.process_time() - began)
        whole = statistics.median(spent["all elites"])
        for name, times in spent.items():
            median = statistics.median(times)
            rows.append([width, name, f"{median / whole:.2f}", f"{options.rows / median:.0f}"])
            print(f"width {width:4} {name:22} {median / whole:6.2f}x  {rows[-1][3]:>8}/CPU s")
    with options.out.open("w", newline="") as file:
        file.write(f"# python -m scripts.benchmarks.bench_filter {shlex.join(sys.argv[1:])}\n")
        writer = csv.writer(file, lineterminator="\n")
        head = ["width", "variant", "ratio_to_all_elites", "transitions_per_cpu_second"]
        writer.writerows([head, *rows])


if __name__ == "__main__":
    main()
