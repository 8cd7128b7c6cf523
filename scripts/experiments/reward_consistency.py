"""Gain of dynamics rewards outside the data: filters of one model, by reward and by candidates.

python -m scripts.experiments.reward_consistency [--tasks refrigerator pendulum] [--seeds 100 101
    ...]
    [--noise 0] [--quick] [--again METHOD ...] [--skip METHOD ...]
    [--out results/experiments/reward_consistency.csv]

Each seed draws its own data, ensemble and rewards. Data come from where it is easy (a controller at
5 deg C; torques up to 0.7, held ten steps; HalfCheetah's up to 0.5, held three), the questions from
where nothing was seen (a controller at -5 deg C; torques up to 2; HalfCheetah's up to 1): the true
actions are replayed in each filtered model, open loop. The error is the mean over steps, rollouts
and observations, in standard deviations of the true rollouts; "ratio" is to the random elite of the
same seed. --noise adds to every next_obs normal noise of that share of the changes' standard
deviation. One configuration, of all tasks and seeds, stands in this file; --quick leaves out the
rewards that are networks. Rows are written seed by seed; those that are there are not computed
again, but for the methods named by --again.
"""

import argparse
import csv
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbrl.dynamics import (
    AdversarialReward,
    BayesianPolynomialReward,
    CandidateGenerator,
    ChristoffelReward,
    ConsensusReward,
    ContrastiveReward,
    DistilledReward,
    DynamicsReward,
    EnsembleMeanReward,
    EnsembleTraining,
    GaussianEnsemble,
    LearnedDynamicsReward,
    MixtureLikelihoodReward,
    OracleReward,
    RandomReward,
    RewardConsistent,
    SINDy,
    SparseResidualReward,
)
from mbrl.dynamics.sindy import LibrarySettings
from mbrl.nn.early_stopping import split_holdout
from mbrl.roles import Dynamics
from mbrl.types import Transitions
from scripts.experiments.reward_consistency_tasks import TASKS, Setting

MODULE = "scripts.experiments.reward_consistency"
ENSEMBLE: dict[str, Any] = {
    "hidden": 64,
    "num_layers": 3,
    "training": EnsembleTraining(batch_size=128, max_updates=3000, min_updates=1000),
}
METHODS = [  # name, candidates, dynamics reward
    ("random elite", "plain", "random"),
    ("ensemble mean", "wide", "mean"),
    ("consensus", "plain", "consensus"),
    ("mixture likelihood", "plain", "mixture"),
    ("adversarial, plain", "plain", "adversarial"),
    ("oracle, plain", "plain", "oracle"),
    ("adversarial, wide", "wide", "adversarial"),
    ("adversarial distilled, wide", "wide", "distilled"),
    ("contrastive, wide", "wide", "contrastive"),
    ("sindy residual, wide", "wide", "residual"),
    ("regression, wide", "wide", "regression"),
    ("christoffel, wide", "wide", "christoffel"),
    ("oracle, wide", "wide", "oracle"),
    ("polynomial alone", "polynomial", "random"),
    ("christoffel, search", "search", "christoffel"),
]
NETWORKS = {"adversarial", "distilled", "contrastive"}
HORIZONS = (1, 10, 25, 50, 100)


def make_rewards(setting: Setting, seed: int) -> dict[str, DynamicsReward]:
    """Build every dynamics reward, with its defaults; each draws by itself."""
    n, env = setting.env.obs_dim, setting.env
    shape: dict[str, Any] = {"obs_dim": n, "action": env.action}

    def drawn(number: int) -> dict[str, Any]:
        return {**shape, "generator": torch.Generator().manual_seed(10_000 * number + seed)}

    adversarial = AdversarialReward(**drawn(1))
    return {
        "random": RandomReward(n),
        "mean": EnsembleMeanReward(n),
        "consensus": ConsensusReward(n),
        "mixture": MixtureLikelihoodReward(n),
        "oracle": OracleReward(n, setting.truth),
        "adversarial": adversarial,
        "distilled": DistilledReward(**drawn(2), teacher=adversarial, fit_teacher=False),
        "contrastive": ContrastiveReward(**drawn(3)),
        "residual": SparseResidualReward(
            obs_dim=n, sparse=SINDy(**shape, task=env.task, library=LibrarySettings(degree=3))
        ),
        "regression": BayesianPolynomialReward(**shape),
        "christoffel": ChristoffelReward(**shape),
    }


def open_loop(model: Dynamics, setting: Setting, generator: torch.Generator) -> Tensor:
    """Replay the true actions: the error at each step and row (H, B)."""
    scale = setting.obs.flatten(0, 1).std(0).clamp(min=1e-6)
    state: Any = model.initial(setting.obs[0], generator=generator)
    errors = []
    for action, true in zip(setting.action, setting.obs[1:], strict=True):
        state, pred = model.step(state, action, generator=generator)
        errors.append(((pred.next_obs - true) / scale).abs().mean(1).nan_to_num(1e4).clamp(max=1e4))
    return torch.stack(errors)


@torch.no_grad()
def one_step(model: RewardConsistent, setting: Setting, generator: torch.Generator) -> list[float]:
    """Compare along true rollouts: distance to the oracle's pick, rank correlation, stop rate."""
    obs, action = setting.obs[:-1].flatten(0, 1), setting.action.flatten(0, 1)
    true = setting.obs[1:].flatten(0, 1)
    scale = (true - obs).std(0).clamp(min=1e-6)
    offered, score = model._scored_candidates(model.initial(obs), action, generator)
    wrong = ((offered.candidates.next_obs - true) / scale).square().mean(-1).sqrt()  # (K, N)
    picked = wrong.gather(0, score.argmax(0, keepdim=True))[0]
    regret = (picked - wrong.min(0).values).mean().item()
    correlation = float("nan")
    if len(wrong) > 1:
        ranks = [x.argsort(0).argsort(0).double() for x in (score, -wrong)]
        a, b = (r - r.mean(0) for r in ranks)
        correlation = ((a * b).sum(0) / a.square().sum(0)).mean().item()
    stopped = float("nan")
    if isinstance(model.dynamics_reward, LearnedDynamicsReward):
        stopped = (
            (model.dynamics_reward.reward(obs, action, true) < model.threshold)
            .double()
            .mean()
            .item()
        )
    return [regret, correlation, stopped]


def study(
    task: str, seed: int, noise: float, methods: list[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    """Return the rows of one seed."""
    generator = torch.Generator().manual_seed(seed)
    setting = TASKS[task](seed, generator)
    data = setting.data
    if noise:
        spread = noise * (data.next_obs - data.obs).std(0)
        wrong = torch.randn(data.obs.shape, generator=generator)
        data = data._replace(next_obs=data.next_obs + spread * wrong)
    env = setting.env
    shape: dict[str, Any] = {"obs_dim": env.obs_dim, "action": env.action, "task": env.task}
    base = GaussianEnsemble(**shape, generator=generator, **ENSEMBLE)
    began = time.process_time()
    base.fit(data, generator=generator)
    seconds = {"base": time.process_time() - began}
    rows, held = split_holdout(len(data.reward), 0.2)  # as the filter does
    part, rest = (Transitions(*(x[index] for x in data)) for index in (rows, held))
    generators = {
        kind: CandidateGenerator(**shape, generator=generator, kind=kind)
        for kind in ("plain", "polynomial", "wide", "search")
    }
    holdout_ensemble = generators["polynomial"].holdout_ensemble
    generators["polynomial"].fit(part, with_holdout_ensemble=True, generator=generator)
    for candidates in generators.values():
        candidates.holdout_ensemble = holdout_ensemble  # one serves all
    dynamics_rewards = make_rewards(setting, seed)
    thresholds = {}
    for name in dict.fromkeys(dynamics_reward for _, _, dynamics_reward in methods):
        dynamics_reward = dynamics_rewards[name]
        began = time.process_time()
        dynamics_reward.fit(
            part,
            base,
            holdout_ensemble=holdout_ensemble,
            generator=torch.Generator().manual_seed(seed),
        )
        seconds[name] = time.process_time() - began
        if isinstance(dynamics_reward, LearnedDynamicsReward):
            reward = dynamics_reward.reward(rest.obs, rest.action, rest.next_obs)
            thresholds[name] = torch.quantile(reward.double(), 0.05)
    found: list[dict[str, Any]] = []
    for method, kind, name in methods:
        filtered = RewardConsistent(
            **shape,
            base=base,
            dynamics_reward=dynamics_rewards[name],
            candidates=generators[kind],
            generator=generator,
        )
        filtered.threshold.copy_(thresholds.get(name, torch.tensor(-torch.inf)))
        draws = torch.Generator().manual_seed(seed)
        began = time.process_time()
        errors = open_loop(filtered, setting, draws)
        rolled = time.process_time() - began
        regret, correlation, stopped = one_step(filtered, setting, draws)
        error = errors.mean().item()
        row = {"task": task, "noise": noise, "seed": seed, "method": method, "error": error}
        row["ratio"] = error / (found[0]["error"] if found else error)
        row |= {f"error@{h}": errors[h - 1].mean().item() for h in HORIZONS if h <= len(errors)}
        row |= {"regret": regret, "rank_correlation": correlation, "stop_rate": stopped}
        row |= {"fit_seconds": seconds.get(name, 0.0), "roll_seconds": rolled}
        found.append(row)
    return found


FIELDS = [
    "task", "noise", "seed", "method", "error", "ratio", *(f"error@{h}" for h in HORIZONS),
    "regret", "rank_correlation", "stop_rate", "fit_seconds", "roll_seconds",
]  # fmt: skip


def summarize(rows: list[dict[str, Any]]) -> None:
    """Print the table: median and worst ratio, and the seeds."""
    for key in dict.fromkeys((r["task"], float(r["noise"])) for r in rows):
        here = [r for r in rows if (r["task"], float(r["noise"])) == key]
        seeds = list(dict.fromkeys(int(r["seed"]) for r in here))
        print(f"\n{key[0]}, noise {key[1]:g}, seeds {seeds}: ratio to the random elite")
        for method, _, _ in METHODS:
            own = [r for r in here if r["method"] == method]
            ratios = [float(r["ratio"]) for r in own]
            if ratios:
                each = " ".join(f"{r:.3g}" for r in ratios)
                mean = {k: statistics.mean(float(r[k]) for r in own) for k in FIELDS[-5:-2]}
                print(
                    f"{method:28} median {statistics.median(ratios):7.3f} max {max(ratios):8.3f}  "
                    f"regret {mean['regret']:.3f} rank {mean['rank_correlation']:+.2f} "
                    f"stop {mean['stop_rate']:.2f}   {each}"
                )


def plot(rows: list[dict[str, Any]], folder: Path, stem: str) -> None:
    """Draw error against horizon, one panel a task, the median over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tasks = list(dict.fromkeys(r["task"] for r in rows))
    figure, axes = pyplot.subplots(1, len(tasks), figsize=(6 * len(tasks), 4.5), squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        for method, _, _ in METHODS:
            own = [r for r in rows if r["task"] == task and r["method"] == method]
            if not own:
                continue
            horizons = [h for h in HORIZONS if str(own[0].get(f"error@{h}", "")) != ""]
            medians = [statistics.median(float(r[f"error@{h}"]) for r in own) for h in horizons]
            axis.plot(horizons, medians, marker="o", label=method)
        axis.set(xscale="log", yscale="log", title=task, xlabel="steps", ylabel="error (sd)")
    axes[0][-1].legend(fontsize=6)
    figure.savefig(folder / f"{stem}.png", dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(100, 110)))
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--quick", action="store_true", help="without rewards that are networks")
    parser.add_argument("--again", nargs="+", default=[], choices=[m[0] for m in METHODS])
    parser.add_argument("--skip", nargs="+", default=[], choices=[m[0] for m in METHODS])
    parser.add_argument(
        "--out", type=Path, default=Path("results/experiments/reward_consistency.csv")
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = [m for m in METHODS if not (options.quick and m[2] in NETWORKS)]
    methods = [m for m in methods if m[0] not in options.skip]
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        lines = options.out.read_text().splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    for seed in options.seeds:
        for task in options.tasks:
            key = (task, options.noise, seed)
            here = [r for r in rows if (r["task"], float(r["noise"]), int(r["seed"])) == key]
            found = {r["method"]: r for r in here if r["method"] not in options.again}
            wanted = [m for m in methods if m[0] not in found]
            if not wanted:
                continue
            wanted = [METHODS[0], *(m for m in wanted if m != METHODS[0])]  # what ratios are to
            found |= {r["method"]: r for r in study(task, seed, options.noise, wanted)}
            rows = [r for r in rows if r not in here]
            rows += [found[m[0]] for m in METHODS if m[0] in found]
            rows.sort(key=lambda r: (str(r["task"]), float(r["noise"]), int(r["seed"])))
            with options.out.open("w", newline="") as file:
                file.write(f"# python -m {MODULE} {shlex.join(sys.argv[1:])}\n")
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n", restval="")
                writer.writeheader()
                writer.writerows(rows)
    summarize(rows)
    plot(rows, options.out.parent, options.out.stem)


if __name__ == "__main__":
    main()
