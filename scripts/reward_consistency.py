"""What a dynamics reward buys outside the data: filters of one model, judge by judge, pool by pool.

python scripts/reward_consistency.py [--tasks refrigerator pendulum] [--seeds 100 101 ...]
    [--noise 0] [--quick] [--out results/reward_consistency.csv]

Each seed draws its own data, ensemble and judges. Data come from where it is easy (a controller at
5 deg C; torques up to 0.7, held ten steps), the questions from where nothing was seen (a controller
at -5 deg C; torques up to 2): the true actions are replayed in each filtered model, open loop. The
error is the mean over steps, rollouts and observations, in standard deviations of the true
rollouts; "ratio" is to the random elite of the same seed. --noise adds to every next_obs normal
noise of that share of the changes' standard deviation. One configuration, of all tasks and seeds,
stands in this file; --quick leaves out the judges that are networks. Rows are written seed by seed;
those that are there are not computed again.
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics import (
    Adversarial,
    Christoffel,
    Consensus,
    Contrastive,
    Distilled,
    EnsembleMean,
    GaussianEnsemble,
    Judge,
    LearnedJudge,
    MixtureLikelihood,
    Oracle,
    Pool,
    RandomPick,
    RewardConsistent,
    SINDy,
    SparseResidual,
)
from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.fit import split_holdout
from mbrl.envs import SimulatedVecEnv, make_vec, pendulum
from mbrl.envs.base import VecEnv
from mbrl.envs.tasks.refrigerator import after as cooled
from mbrl.types import Transitions

ENSEMBLE: dict[str, Any] = {
    "hidden": 64, "num_layers": 3, "batch_size": 128, "max_updates": 3000, "min_updates": 1000,
}  # fmt: skip
METHODS = [  # name, pool, judge
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
    ("christoffel, wide", "wide", "christoffel"),
    ("christoffel ranks, wide", "wide", "christoffel ranks"),
    ("oracle, wide", "wide", "oracle"),
    ("polynomial alone", "polynomial", "random"),
    ("christoffel, search", "search", "christoffel"),
]
NETWORKS = {"adversarial", "distilled", "contrastive"}
HORIZONS = (1, 10, 25, 50, 100)


class Setting(NamedTuple):
    """A task outside its data."""

    data: Transitions  # (N, ...)
    obs: Tensor  # (H + 1, B, obs_dim) true rollouts
    action: Tensor  # (H, B, act_dim)
    env: VecEnv
    truth: Any  # (obs, action) -> next_obs


class Thermostat:
    """Hold a temperature in proportion, with noise."""

    def __init__(self, target: float, noise: float, generator: torch.Generator):
        self.target, self.noise, self.generator = target, noise, generator

    def __call__(self, obs: Tensor) -> Tensor:
        steady = 0.32 if self.target > 0 else 0.62  # about what holds it
        draw = torch.randn(obs.shape, generator=self.generator)
        return (steady + 0.15 * (obs - self.target) + self.noise * draw).clamp(0, 1)


def roll(env: VecEnv, act: Any, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Give obs (H + 1, B, n) and actions (H, B, m) of one episode of each environment."""
    seen, acted = [env.reset(seed)], []
    for _ in range(steps):
        acted.append(act(seen[-1]))
        seen.append(env.step(acted[-1]).next_obs)
    return torch.stack(seen), torch.stack(acted)


def flat(obs: Tensor, action: Tensor) -> Transitions:
    """Put rollouts into transitions, episode by episode."""
    steps, rows = action.shape[:2]
    parts = [x.transpose(0, 1).flatten(0, 1) for x in (obs[:-1], action, obs[1:])]
    zero = torch.zeros(steps * rows)
    never = zero.bool()
    episode = torch.arange(rows).repeat_interleave(steps)
    return Transitions(parts[0], parts[1], zero, parts[2], never, never, episode)


def refrigerator(seed: int, generator: torch.Generator) -> Setting:
    env = make_vec("Refrigerator-v0", 20, seed=seed)
    data = flat(*roll(env, Thermostat(5.0, 0.1, generator), 100, seed))
    env = make_vec("Refrigerator-v0", 30, seed=seed)
    obs, action = roll(env, Thermostat(-5.0, 0.0, generator), 100, 1_000_000 + seed)
    return Setting(
        data,
        obs,
        action,
        env,
        lambda s, a: cooled(s[:, 0].double(), a[:, 0].double())[:, None].float(),
    )


def swung(obs: Tensor, action: Tensor) -> Tensor:
    """Give the pendulum's successor."""
    angle, speed = torch.atan2(obs[:, 1], obs[:, 0]), obs[:, 2]
    speed = speed + (15.0 * torch.sin(angle) + 3.0 * action[:, 0].clamp(-2, 2)) * 0.05
    speed = speed.clamp(-8, 8)
    angle = angle + speed * 0.05
    return torch.stack([torch.cos(angle), torch.sin(angle), speed], 1)


class Held:
    """Draw torques uniformly and hold each for ten steps."""

    def __init__(self, most: float, generator: torch.Generator):
        self.most, self.generator, self.number = most, generator, 0

    def __call__(self, obs: Tensor) -> Tensor:
        if self.number % 10 == 0:
            draw = torch.rand(len(obs), 1, generator=self.generator)
            self.torque = self.most * (2 * draw - 1)
        self.number += 1
        return self.torque


def hang(env: SimulatedVecEnv, generator: torch.Generator) -> None:
    """Let every pendulum hang nearly still."""
    state = 0.1 * torch.randn(env.num_envs, 2, generator=generator, dtype=torch.float64)
    env.simulation.set_state((state + torch.tensor([torch.pi, 0.0])).numpy())


def swing(most: float, rows: int, steps: int, seed: int, generator: torch.Generator) -> Any:
    """Swing hanging pendulums with torques up to most."""
    env = pendulum(num_envs=rows, seed=seed, max_torque=most)
    env.reset(seed)
    hang(env, generator)
    angle, speed = torch.from_numpy(env.simulation.get_state()).T
    first = torch.stack([torch.cos(angle), torch.sin(angle), speed], 1).float()
    act, seen, acted = Held(most, generator), [first], []
    for _ in range(steps):
        acted.append(act(seen[-1]))
        seen.append(env.step(acted[-1]).next_obs)
    return env, torch.stack(seen), torch.stack(acted)


def pendulum_outside(seed: int, generator: torch.Generator) -> Setting:
    _, obs, action = swing(0.7, 25, 200, seed, generator)
    data = flat(obs, action)
    env, obs, action = swing(2.0, 30, 50, seed, generator)
    return Setting(data, obs, action, env, swung)


def pendulum_torque(seed: int, generator: torch.Generator) -> Setting:
    env = pendulum(num_envs=25, seed=seed, max_torque=0.7)
    data = flat(*roll(env, Held(0.7, generator), 200, seed))
    env = pendulum(num_envs=30, seed=seed)
    obs, action = roll(env, Held(2.0, generator), 50, 1_000_000 + seed)
    return Setting(data, obs, action, env, swung)


TASKS: dict[str, Callable[[int, torch.Generator], Setting]] = {
    "refrigerator": refrigerator,
    "pendulum": pendulum_outside,
    "pendulum_torque": pendulum_torque,
}


def make_judges(setting: Setting, generator: torch.Generator) -> dict[str, Judge]:
    """Make every judge, with its defaults."""
    n, env = setting.env.obs_dim, setting.env
    shape: dict[str, Any] = {"obs_dim": n, "action": env.action}
    drawn = {**shape, "generator": generator}
    adversarial = Adversarial(**drawn)
    return {
        "random": RandomPick(n),
        "mean": EnsembleMean(n),
        "consensus": Consensus(n),
        "mixture": MixtureLikelihood(n),
        "oracle": Oracle(n, setting.truth),
        "adversarial": adversarial,
        "distilled": Distilled(**drawn, teacher=adversarial, fit_teacher=False),
        "contrastive": Contrastive(**drawn),
        "residual": SparseResidual(obs_dim=n, sparse=SINDy(**shape, task=env.task, degree=3)),
        "christoffel": Christoffel(**shape),
        "christoffel ranks": Christoffel(**shape, num_kept=3),
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
    """Ask along the true rollouts: distance to the oracle's pick, rank correlation, stop rate."""
    obs, action = setting.obs[:-1].flatten(0, 1), setting.action.flatten(0, 1)
    true = setting.obs[1:].flatten(0, 1)
    scale = (true - obs).std(0).clamp(min=1e-6)
    offered, score = model._offer(model.initial(obs), action, generator)
    wrong = ((offered.candidates.next_obs - true) / scale).square().mean(-1).sqrt()  # (K, N)
    picked = wrong.gather(0, score.argmax(0, keepdim=True))[0]
    regret = (picked - wrong.min(0).values).mean().item()
    correlation = float("nan")
    if len(wrong) > 1:
        ranks = [x.argsort(0).argsort(0).double() for x in (score, -wrong)]
        a, b = (r - r.mean(0) for r in ranks)
        correlation = ((a * b).sum(0) / a.square().sum(0)).mean().item()
    stopped = float("nan")
    if isinstance(model.judge, LearnedJudge):
        stopped = (model.judge.reward(obs, action, true) < model.threshold).double().mean().item()
    return [regret, correlation, stopped]


def study(
    task: str, seed: int, noise: float, methods: list[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    """Give the rows of one seed."""
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
    pools = {
        kind: Pool(**shape, generator=generator, kind=kind)
        for kind in ("plain", "polynomial", "wide", "search")
    }
    edges = pools["polynomial"].edges
    pools["polynomial"].fit(part, with_edges=True, generator=generator)
    for pool in pools.values():
        pool.edges = edges  # one set of edge members serves all
    judges = make_judges(setting, generator)
    thresholds = {}
    for name in dict.fromkeys(judge for _, _, judge in methods):
        judge = judges[name]
        began = time.process_time()
        judge.fit(part, base, edges=edges, generator=torch.Generator().manual_seed(seed))
        seconds[name] = time.process_time() - began
        if isinstance(judge, LearnedJudge):
            reward = judge.reward(rest.obs, rest.action, rest.next_obs)
            thresholds[name] = torch.quantile(reward.double(), 0.05)
    found: list[dict[str, Any]] = []
    for method, kind, name in methods:
        filtered = RewardConsistent(
            **shape, base=base, judge=judges[name], pool=pools[kind], generator=generator
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


def summarise(rows: list[dict[str, Any]]) -> None:
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
            horizons = [h for h in HORIZONS if own and str(own[0].get(f"error@{h}", "")) != ""]
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
    parser.add_argument("--quick", action="store_true", help="without judges that are networks")
    parser.add_argument("--out", type=Path, default=Path("results/reward_consistency.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = [m for m in METHODS if not (options.quick and m[2] in NETWORKS)]
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        lines = options.out.read_text().splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    for seed in options.seeds:
        for task in options.tasks:
            key = (task, options.noise, seed)
            if any((r["task"], float(r["noise"]), int(r["seed"])) == key for r in rows):
                continue
            rows += study(task, seed, options.noise, methods)
            with options.out.open("w", newline="") as file:
                file.write(f"# python {' '.join(sys.argv)}\n")
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n", restval="")
                writer.writeheader()
                writer.writerows(rows)
    summarise(rows)
    plot(rows, options.out.parent, options.out.stem)


if __name__ == "__main__":
    main()
