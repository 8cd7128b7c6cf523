"""Speed of training: SAC's updates for one seed and for eight, MBPO, and SAC on many environments.

    python -m scripts.benchmarks.bench_training [--device cuda] [--minutes 6] [--parts updates fits]

updates: SAC's updates a second, 256 rows a batch, of 1 and of 8 seeds that learn as one batch, turn
    by turn; on a GPU also without CUDA graphs ("eager").
fits: fits of the ensembles of 4 seeds, 400 steps each, together and one by one, turn by turn.
mbpo: MBPO on Hopper with the paper's settings until its share of the minutes is over: steps a
    second, steps, and the return then.
worlds: SAC on 4,096 environments of Hopper, simulated on the device (backend=warp) and by threads,
    each for its share of the minutes, an update for 32 transitions: returns against seconds.

The minutes are those of everything together. Prints each line as it is measured, and writes
results/benchmarks/training_DEVICE.csv.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from mbrl.buffer import ReplayBuffer
from mbrl.cli.machine import num_cores
from mbrl.config import build, compose
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.errors import BadInput
from mbrl.learners import SAC
from mbrl.training.evaluation import evaluate
from mbrl.training.loop import train
from mbrl.types import ActionSpec, Task, Transitions
from scripts.benchmarks.bench_sac import ACT_DIM, OBS_DIM, ROWS, data

SHARES = {"updates": 0.15, "fits": 0.1, "mbpo": 0.45, "worlds": 0.3}  # of the minutes
NUM_SEEDS, NUM_WORLDS, BATCH_SIZE = 8, 4096, 256
Row = tuple[str, str, str, str]  # part, setting, what, value


def synchronize(device: str) -> None:
    """Wait until the device has done its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Side:
    """SAC of some seeds, as one batch, on filled buffers.

    Args:
        rows: transitions.
        hidden: width of the networks.
        num_seeds: how many.
        device: of everything.
        graphs: whether CUDA graphs are used.
    """

    def __init__(self, rows: Transitions, hidden: int, num_seeds: int, device: str, graphs: bool):
        low = -torch.ones(ACT_DIM, device=device)
        self.num_seeds, self.rates = num_seeds, list[float]()
        learners = []
        self._buffers = [ReplayBuffer(ROWS, OBS_DIM, ACT_DIM, device) for _ in range(num_seeds)]
        for seed, buffer in enumerate(self._buffers):
            buffer.add(rows)
            learner = SAC(
                obs_dim=OBS_DIM,
                action=ActionSpec("continuous", low, -low),
                generator=torch.Generator(device).manual_seed(seed),
                hidden=hidden,
                batch_size=BATCH_SIZE,
            )
            learners.append(learner)
        self._stack = SAC.stack(learners)
        if not graphs:
            self._stack._updates._chunk = self._stack._updates._run_eagerly

    def run(self, num_updates: int) -> None:
        """Update each seed num_updates times."""
        self._stack.improve(self._buffers, [None] * self.num_seeds, num_updates=num_updates)

    def measure(self, num_updates: int, device: str) -> None:
        """Measure seed-updates a second once."""
        synchronize(device)
        start = time.perf_counter()
        self.run(num_updates)
        synchronize(device)
        self.rates.append(self.num_seeds * num_updates / (time.perf_counter() - start))


def updates(device: str, seconds: float) -> Iterator[Row]:
    """Yield the updates a second of each number of seeds and each width."""
    on_cuda = device.startswith("cuda")
    rows, widths = Transitions(*(x.to(device) for x in data())), (64, 256)
    for hidden in widths:
        sides = {
            f"{n} seeds{'' if graphs else ' eager'}": Side(rows, hidden, n, device, graphs)
            for n in (1, NUM_SEEDS)
            for graphs in ((True, False) if on_cuda else (True,))
        }
        num = 160 if on_cuda else 16
        for side in sides.values():
            for _ in range(4 if on_cuda else 1):  # the graph is captured in the fourth call
                side.run(num)
            side.run(num)
        until = time.perf_counter() + seconds / len(widths)
        while time.perf_counter() < until or not sides[f"{NUM_SEEDS} seeds"].rates:
            for side in sides.values():
                side.measure(num, device)
        for name, side in sides.items():
            what = "seed-updates a second, median (least, most)"
            least, most = min(side.rates), max(side.rates)
            shown = f"{statistics.median(side.rates):.0f} ({least:.0f} {most:.0f})"
            yield "updates", f"hidden {hidden} {name}", what, shown
        pairs = zip(sides["1 seeds"].rates, sides[f"{NUM_SEEDS} seeds"].rates, strict=True)
        ratio = statistics.median(many / one for one, many in pairs)
        yield "updates", f"hidden {hidden}", f"{NUM_SEEDS} seeds against 1, a turn", f"{ratio:.2f}"


def fits(device: str, seconds: float) -> Iterator[Row]:
    """Yield the time of fits one by one over that of the same fits together."""
    rows = Transitions(*(x[:5000].to(device) for x in data()))
    low = -torch.ones(ACT_DIM, device=device)
    training = EnsembleTraining(min_updates=300, max_updates=300, anneal_updates=100)
    for hidden in (32, 200):

        def ensembles(hidden: int = hidden) -> list[GaussianEnsemble]:
            return [
                GaussianEnsemble(
                    obs_dim=OBS_DIM, action=ActionSpec("continuous", low, -low), task=Task(),
                    generator=torch.Generator(device).manual_seed(seed), hidden=hidden,
                    training=training, termination="auto", device=device,
                )
                for seed in range(4)
            ]  # fmt: skip

        def one_by_one(models: list[GaussianEnsemble], draws: list[torch.Generator]) -> None:
            for model, generator in zip(models, draws, strict=True):
                GaussianEnsemble.fit_together([model], [rows], [generator])

        def together(models: list[GaussianEnsemble], draws: list[torch.Generator]) -> None:
            GaussianEnsemble.fit_together(models, [rows] * len(models), draws)

        ratios: list[float] = []
        until = time.perf_counter() + seconds / 2
        while time.perf_counter() < until or not ratios:
            spent = []
            for fit in (one_by_one, together):
                models = ensembles()
                draws = [torch.Generator(device).manual_seed(seed) for seed in range(4)]
                synchronize(device)
                start = time.perf_counter()
                fit(models, draws)
                synchronize(device)
                spent.append(time.perf_counter() - start)
            ratios.append(spent[0] / spent[1])
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} {max(ratios):.2f})"
        yield "fits", f"hidden {hidden}", "one by one against together (least, most)", shown


def timed(settings: list[str], seconds: float, every: int | None = None) -> list[tuple[float, ...]]:
    """Train until the seconds are over; return (seconds, step, return) of each evaluation."""
    config, _ = compose(settings)
    parts = build(config)
    points: list[tuple[float, ...]] = []
    start = time.perf_counter()

    class Points:
        """Recorder of when each evaluation was."""

        def log(self, metrics: dict[str, float], step: int) -> None:
            if "eval/mean_reward" in metrics:
                now = time.perf_counter() - start
                points.append((now, step, metrics["eval/mean_reward"]))

        def position(self) -> int:
            return 0

        def rewind(self, position: int) -> None:
            pass

    summary = train(
        parts.env,
        parts.agent,
        config["total_steps"],
        buffer=parts.buffer,
        logger=Points(),
        make_eval_env=parts.make_eval_env,
        seed=config["seed"],
        eval_every=every,
        eval_episodes=5,
        log_every=config["log_every"],
        stop=lambda: time.perf_counter() - start > seconds,
    )
    spent = time.perf_counter() - start
    score = evaluate(parts.make_eval_env, parts.agent, episodes=5, seed=config["seed"])
    return [*points, (spent, summary["step"], score["eval/mean_reward"])]


def mbpo(device: str, seconds: float) -> Iterator[Row]:
    """Yield the speed of MBPO on Hopper, and what it reaches."""
    settings = ["agent=mbpo", "env=hopper", "experiment=mbpo_hopper_paper"]
    spent, step, score = timed([*settings, f"device={device}"], seconds)[-1]
    yield "mbpo", "hopper", "environment steps a second", f"{step / spent:.1f}"
    yield "mbpo", "hopper", f"steps in {spent:.0f} s", f"{step:.0f}"
    yield "mbpo", "hopper", f"return after {spent:.0f} s", f"{score:.0f}"


def worlds(device: str, seconds: float) -> Iterator[Row]:
    """Yield the returns of SAC on many environments against seconds, for two back ends."""
    for backend in ("warp", "threads"):
        settings = [
            *["agent=sac", "env=hopper", "experiment=none", f"env.backend={backend}"],
            *[f"env.num_envs={NUM_WORLDS}", "total_steps=1000000000", "log_every=100000"],
            *([f"env.num_threads={num_cores()}"] if backend == "threads" else []),
            *["agent.learning_starts=20000", f"device={device}", "agent.updates_per_step=0.03125"],
        ]
        try:
            points = timed(settings, seconds / 2, every=NUM_WORLDS * 500)
        except BadInput as error:
            yield "worlds", backend, "not measured", str(error).replace(",", ";")
            continue
        for spent, step, score in points:
            yield (
                "worlds",
                backend,
                f"return after {spent:.0f} s and {step:.0f} steps",
                f"{score:.0f}",
            )


PARTS: dict[str, Callable[[str, float], Iterator[Row]]] = {
    "updates": updates,
    "fits": fits,
    "mbpo": mbpo,
    "worlds": worlds,
}


def measure(
    device: str, minutes: float, parts: list[str], save: Callable[[list[Row]], object] = len
) -> list[Row]:
    """Run the parts, each for its share of the minutes; print, save and return what they measure.

    Args:
        device: of everything.
        minutes: of all parts together.
        parts: their names.
        save: called with the rows so far after each one: a run may be cut short.
    """
    total = sum(SHARES[name] for name in parts)
    rows: list[Row] = []
    for name in parts:
        for row in PARTS[name](device, 60 * minutes * SHARES[name] / total):
            rows.append(row)
            print("  ".join(row), flush=True)
            save(rows)
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=6.0, help="of everything")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    kind = options.device.partition(":")[0]
    where = torch.cuda.get_device_name() if kind == "cuda" else f"CPU, {options.threads} threads"
    words = sys.argv[1:] if arguments is None else arguments
    head = f"# python -m scripts.benchmarks.bench_training {' '.join(words)}".rstrip()
    out = Path(__file__).parents[2] / "results" / "benchmarks" / f"training_{kind}.csv"

    def save(rows: list[Row]) -> None:
        lines = [",".join(f'"{x}"' for x in row) for row in rows]
        out.write_text("\n".join([head, f"# {where}", "part,setting,what,value", *lines, ""]))

    measure(options.device, options.minutes, options.parts, save)


if __name__ == "__main__":
    main()
