"""Time this checkout against another one, such as an older commit, turn by turn.

    python -m scripts.benchmarks.bench_builds --against DIR [--only WORK ...] [--rounds 9]

DIR is a checkout (`git worktree add DIR COMMIT`); its `.venv` runs it where it has one, else this
Python does. Each piece of work has a process in each build, which does it once to warm up and then
when it is its turn. CPU seconds on one thread, of child processes too; `ratio` is the other
build's time over this one's, turn by turn: median, lowest and highest. Peak memory is that of each
process. Whole runs of `mbrl train` have fewer turns (--runs). Names of either build are found by
what can be imported. Writes results/benchmarks/builds.csv, rows of work not named by --only stay.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUT = ROOT / "results" / "benchmarks" / "builds.csv"
COLUMNS: tuple[str, ...] = (
    "work",
    "seconds",
    "other_seconds",
    "ratio",
    "lowest",
    "highest",
    "turns",
)
COLUMNS += ("peak_mb", "other_peak_mb")
OBS_DIM, ACT_DIM = 11, 3
Work = Callable[[], object]


def found(*places: str) -> Any:
    """Return the first of "module:name" that can be imported: builds differ."""
    for place in places[:-1]:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    module, name = places[-1].split(":")
    return getattr(importlib.import_module(module), name)


# ---- work: each returns what is timed, built by what either build has -------------------------


def spec(dim: int = ACT_DIM) -> Any:
    import torch

    return found("mbrl.types:ActionSpec")("continuous", -torch.ones(dim), torch.ones(dim))


def rows_of(number: int) -> Any:
    """Return transitions that can be learned."""
    import torch

    g = torch.Generator().manual_seed(0)
    obs = torch.randn(number, OBS_DIM, generator=g)
    action = torch.rand(number, ACT_DIM, generator=g) * 2 - 1
    mixing = 0.1 * torch.randn(OBS_DIM + ACT_DIM, OBS_DIM, generator=g)
    change = torch.tanh(torch.cat([obs, action], 1) @ mixing)
    change += 0.01 * torch.randn(change.shape, generator=g)
    ended = torch.rand(number, generator=g) < 0.01
    never = torch.zeros(number, dtype=torch.bool)
    return found("mbrl.types:Transitions")(
        obs, action, -obs.norm(dim=1), obs + change, ended, never, never.long()
    )


def sac(hidden: int, **settings: Any) -> Work:
    """25 updates on 256 rows."""
    import torch

    buffer = found("mbrl.buffer:ReplayBuffer")(50_000, OBS_DIM, ACT_DIM)
    buffer.add(rows_of(50_000))
    learner = found("mbrl.learners:SAC", "mbrl.agents:SAC")(
        obs_dim=OBS_DIM, action=spec(), generator=torch.Generator().manual_seed(0), hidden=hidden,
        batch_size=256, **settings,
    )  # fmt: skip
    return lambda: learner.improve(buffer, num_updates=25)


def ensemble(training: dict[str, Any], **settings: Any) -> Any:
    """Build an ensemble that knows the end."""
    import torch

    try:
        settings["training"] = found("mbrl.dynamics:EnsembleTraining")(anneal_updates=0, **training)
    except AttributeError:
        settings |= training
    return found("mbrl.dynamics:GaussianEnsemble")(
        obs_dim=OBS_DIM, action=spec(), task=found("mbrl.envs.tasks:Hopper").task,
        generator=torch.Generator().manual_seed(0), **settings,
    )  # fmt: skip


def fit(batch: int) -> Work:
    """200 training steps of 7 members of 3 x 128, five epochs with their holdout."""
    import torch

    number = 200
    training = {"batch_size": batch, "min_updates": number, "max_updates": number}
    model = ensemble(training, hidden=128, num_layers=3)
    batch_size_for = found(
        "mbrl.nn.early_stopping:batch_size_for", "mbrl.dynamics.regression:batch_size_for"
    )
    rows = next(
        n for n in itertools.count(40 * batch, 40 * batch) if batch_size_for(n, batch) == batch
    )
    data, generator = rows_of(rows), torch.Generator().manual_seed(0)
    return lambda: model.fit(data, generator=generator)


def ensemble_step(mean: bool = False, **settings: Any) -> Work:
    """One step of 100,000 rows, 7 members of 4 x 200, 5 elites."""
    import torch

    model = ensemble({}, **settings)
    rows = rows_of(100_000)
    generator = None if mean else torch.Generator().manual_seed(0)
    belief = model.initial(rows.obs, generator=generator)

    @torch.no_grad()
    def work() -> None:
        model.step(belief, rows.action, generator=generator)

    return work


class Network:
    """A Model: next_obs = obs + network([obs, action]), a quadratic reward, no end."""

    def __init__(self, hidden: tuple[int, ...]):
        import torch

        draws = torch.Generator().manual_seed(0)
        widths = [6, *hidden, 4]
        self.layers = [
            (torch.randn(o, i, generator=draws) * 0.5 / i**0.5, torch.zeros(o))
            for i, o in itertools.pairwise(widths)
        ]
        self._prediction = found("mbrl.types:Prediction")
        self._flags: dict[int, tuple[Any, Any]] = {}  # by rows: nobody, everyone

    def step(self, state: Any, action: Any, **_: object) -> tuple[Any, Any]:
        import torch
        from torch.nn.functional import linear

        x = torch.cat([state, action], 1)
        for weight, bias in self.layers[:-1]:
            x = torch.relu(linear(x, weight, bias))
        after = state + linear(x, *self.layers[-1])
        reward = -0.1 * action.square().sum(1) - after.square().sum(1)
        if len(after) not in self._flags:
            never = torch.zeros(len(after), dtype=torch.bool)
            self._flags[len(after)] = never, ~never
        return after, self._prediction(after, reward, *self._flags[len(after)], None)


def planning(name: str, envs: int, hidden: tuple[int, ...] | None, num: int, **rest: Any) -> Work:
    """Plans from the plan before, horizon 15, of a network or the ensemble (None)."""
    import torch

    planner = found(f"mbrl.planners:{name}")(action=spec(2), horizon=15, num_samples=num, **rest)
    draws = torch.Generator().manual_seed(0)
    obs = torch.randn(envs, 4, generator=draws)
    state: Any = obs
    if hidden is None:
        task = found("mbrl.types:Task")()
        model = found("mbrl.dynamics:GaussianEnsemble")(
            obs_dim=4, action=spec(2), task=task, generator=draws
        ).requires_grad_(False)
        state = model.initial(obs, generator=draws)
    else:
        model = Network(hidden)
    plan = None

    @torch.no_grad()
    def work() -> None:
        nonlocal plan
        for _ in range(40 if envs == 1 else 10):
            plan = planner.plan(state, model, generator=draws, previous=plan)

    return work


def sindy() -> Work:
    """Ten predictions of 100,000 rows, 46 coefficients, with the compiled kernel."""
    import numpy as np

    draws = np.random.default_rng(0)
    weights = np.zeros(5 * 28)
    weights[draws.choice(weights.size, 46, replace=False)] = draws.normal(size=46)
    old = "mbrl.dynamics.sindy_compile:"
    terms = found(
        "mbrl.dynamics.sindy.library:polynomial", "mbrl.dynamics.sindy_library:polynomial"
    )
    system = found("mbrl.dynamics.sindy.codegen:System", f"{old}System")(
        5, 1, False, tuple(range(5)), terms(range(6), 2), weights.reshape(5, 28)
    )
    kernel = found("mbrl.dynamics.sindy.predictor:Predictor", f"{old}Predictor")
    kernel = kernel(system, compile=True)
    obs, action = draws.normal(size=(100_000, 5)), draws.normal(size=(100_000, 1))

    def work() -> None:
        for _ in range(10):
            kernel.numpy(obs, action)

    return work


def train(*settings: str) -> Work:
    """One `mbrl train`, in a process of its own."""

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "mbrl", "train", *settings, f"run_dir={folder}/run"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr)

    return work


def peer_settings() -> list[str]:
    """Return mbrl-lib's settings of MBPO on InvertedPendulum, in this build's names."""
    new = (Path(os.environ["BUILD"]) / "mbrl" / "learners").exists()
    fit = "dynamics.training" if new else "dynamics"
    return [
        *("agent=mbpo", "env=inverted_pendulum", "total_steps=1250", "eval_every=250"),
        *("eval_episodes=1", "agent.num_rollouts=100_000", "agent.learning_starts=500"),
        *("agent.retrain_interval=250", "agent.updates_per_step=10", "learner.hidden=256"),
        *("learner.learning_rate=3e-4", "learner.real_ratio=0", "learner.target_entropy=-1"),
        *("dynamics.hidden=200", "dynamics.num_layers=4"),
        *(f"{fit}.min_updates=1", f"{fit}.max_updates=10_000"),
    ]


def precision(work: Callable[..., Work], *arguments: Any) -> Work:
    """Build work in bfloat16 in this build, in float32 in one that has no such setting."""
    try:
        return work(*arguments, precision="bf16")
    except TypeError:
        return work(*arguments)


ONCE = {"num_iterations": 1, "warm_iterations": 1}
SMALL = {"MPPI": ONCE | {"adapt_std": False}, "CEM": {"num_elites": 25}}
WORK: dict[str, Callable[[], Work]] = {
    **{f"SAC update, hidden {h}": lambda h=h: sac(h) for h in (64, 128, 256)},
    **{f"SAC update, hidden {h}, bf16": lambda h=h: precision(sac, h) for h in (128, 256)},
    **{f"ensemble fit, batch {n}": lambda n=n: fit(n) for n in (64, 256)},
    "ensemble step, 100,000 rows": ensemble_step,
    "ensemble step, 100,000 rows, bf16": lambda: precision(ensemble_step, False),
    "mean of five elites, 100,000 rows": lambda: ensemble_step(True),
    **{
        f"{name}, one environment, 2x{h}": lambda n=name, h=h: planning(
            n, 1, (h, h), 256, **SMALL[n]
        )
        for name in ("MPPI", "CEM")
        for h in (32, 64)
    },
    "MPPI, 16 environments, 2x200": lambda: planning("MPPI", 16, (200, 200), 256, **SMALL["MPPI"]),
    "iCEM, ensemble, one environment": lambda: planning("ICEM", 1, None, 64, num_elites=6),
    "SINDy, 100,000 rows": sindy,
}
RUNS: dict[str, Callable[[], Work]] = {
    "mbrl train to the first step, MBPO": lambda: train(
        "agent=mbpo", "env=hopper", "total_steps=1", "eval_episodes=1"
    ),
    "mbrl train to the first step, SINDy-MPC": lambda: train(
        "agent=sindy_mpc", "env=pendulum", "total_steps=1", "eval_episodes=1"
    ),
    "MBPO on Hopper, 4,000 steps": lambda: train("agent=mbpo", "env=hopper", "total_steps=4000"),
    **{
        f"MBPO on InvertedPendulum, mbrl-lib's settings, seed {seed}": lambda s=seed: train(
            *peer_settings(), f"seed={s}"
        )
        for seed in range(3)
    },
}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(x.ru_utime + x.ru_stime for x in used)


def worker(name: str) -> None:
    """Do a piece of work once, then at each line of standard input, and print its CPU seconds."""
    import torch

    torch.set_num_threads(1)
    is_run = name in RUNS
    work = (RUNS | WORK)[name]()
    if not is_run:
        work()
    answers, sys.stdout = sys.stdout, sys.stderr
    for _ in sys.stdin:
        before = cpu_seconds()
        work()
        who = resource.RUSAGE_CHILDREN if is_run else resource.RUSAGE_SELF
        peak = resource.getrusage(who).ru_maxrss / 1024
        answer = {"cpu": cpu_seconds() - before, "peak_mb": peak}
        print(json.dumps(answer), file=answers, flush=True)


# ---- the two in turns -------------------------------------------------------------------------


class Side:
    """A process of a build."""

    def __init__(self, build: Path, name: str):
        own = build / ".venv" / "bin" / "python"
        python = str(own) if own.exists() else sys.executable
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=build,
            env=os.environ
            | {"PYTHONPATH": str(build), "BUILD": str(build)}
            | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            text=True,
        )

    def ask(self) -> dict[str, float]:
        """Do the work once more."""
        assert self._process.stdin and self._process.stdout
        print(file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args}: ended with {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def compare(name: str, builds: list[Path], turns: int) -> dict[str, str]:
    """Return a row of the table."""
    sides = [Side(build, name) for build in builds]
    answers = [[side.ask() for side in sides] for _ in range(turns)]
    for side in sides:
        side.close()
    mine, other = zip(*answers, strict=True)
    ratios = sorted(b["cpu"] / a["cpu"] for a, b in answers)
    numbers = [
        *(f"{statistics.median(x['cpu'] for x in side):.4f}" for side in (mine, other)),
        *(f"{x:.2f}" for x in (statistics.median(ratios), ratios[0], ratios[-1])),
        *(str(turns), f"{mine[-1]['peak_mb']:.0f}", f"{other[-1]['peak_mb']:.0f}"),
    ]
    return dict(zip(COLUMNS, [name, *numbers], strict=True))


def table() -> Iterator[dict[str, str]]:
    """Read the rows that were written before."""
    if OUT.exists():
        with OUT.open() as file:
            yield from csv.DictReader(line for line in file if not line.startswith("#"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="checkout of the other build")
    parser.add_argument("--only", nargs="+", metavar="WORK", help="names, or how they start")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=3, help="turns of whole runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker)
    if not options.against:
        parser.error("--against DIR, the checkout of the other build, is missing")
    builds = [ROOT, options.against.resolve()]
    commit = ["git", "-C", str(builds[1]), "rev-parse", "--short", "HEAD"]
    other = subprocess.run(commit, capture_output=True, text=True).stdout.strip()
    rows = {row["work"]: row for row in table()}
    every = [*WORK, *RUNS]
    for name in every:
        if options.only and not name.startswith(tuple(options.only)):
            continue
        rows[name] = compare(name, builds, options.runs if name in RUNS else options.rounds)
        print("  ".join(rows[name].values()), flush=True)
        with OUT.open("w", newline="") as file:
            print(
                f"# python -m scripts.benchmarks.bench_builds --against DIR  # {other}", file=file
            )
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[x] for x in every if x in rows)


if __name__ == "__main__":
    main()
