"""Kill training runs with SIGKILL at random moments, resume them, and compare the ends bit for bit.

python -m scripts.robustness.kill_resume [--kills 100] [--kills-per-run 5] [--seed 0] [--out
    results/robustness/kills.csv]

Runs come one after the other: MBPO, PETS and SAC, small but whole. Two in five kills come at a
random time of the process's life (its start included), the others are aimed at a random moment
within a phase drawn at random. The killed process keeps its phase and step in a mapped file, which
outlives it. A run fails if it resumes from anything but the newest checkpoint that was committed
when it was killed, or if its last checkpoint or its record differs from an unbroken run's.
"""

import argparse
import csv
import functools
import hashlib
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMON = [
    "experiment=none", "total_steps=240", "save_every=20", "eval_every=80", "eval_episodes=2",
    "agent.learning_starts=60",
]  # fmt: skip
MODEL = [
    "dynamics.hidden=16", "dynamics.num_layers=2", "dynamics.training.min_updates=150",
    "dynamics.training.max_updates=300", "agent.retrain_interval=40",
]  # fmt: skip
MBPO = [
    "agent=mbpo", *COMMON, *MODEL, "agent.num_rollouts=500", "agent.updates_per_step=2",
    "agent.rollout_length=[0,200,1,3]", "learner.hidden=16",
]  # fmt: skip
CASES = {  # name -> arguments of `mbrl train`
    "mbpo": [*MBPO, "env=inverted_pendulum"],
    "mbpo, 2 environments": [*MBPO, "env=pendulum", "env.num_envs=2", "seed=1"],
    "pets": [
        "agent=pets", *COMMON, *MODEL, "env=inverted_pendulum", "planner.horizon=4",
        "planner.num_samples=20", "planner.num_elites=5", "planner.num_iterations=2",
        "planner.warm_iterations=2",
    ],
    "sac, gymnasium": [
        "agent=sac", *COMMON, "env=gym", "env.id=MountainCarContinuous-v0", "env.num_envs=2",
        "learner.hidden=32", "agent.updates_per_step=4",
    ],
}  # fmt: skip
PHASES = ("starting", "loading", "collecting", "fitting", "learning", "evaluating", "saving")
MARKS = struct.Struct(f"b2q{2 * len(PHASES)}d")  # phase, step, resumed from, seconds and visits
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


# ---- the child: `mbrl train`, with its phase in the mapped file -------------------------------


def child(marks: Path, arguments: list[str]) -> int:
    with marks.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), MARKS.size)
    phase, step, resumed = 0, 0, -1
    spent, visits = [0.0] * len(PHASES), [0.0] * len(PHASES)

    def write() -> None:
        memory[:] = MARKS.pack(phase, step, resumed, *spent, *visits)

    @contextmanager
    def entered(name: str):
        nonlocal phase
        before, began = phase, time.monotonic()
        phase = PHASES.index(name)
        write()
        try:
            yield
        finally:
            spent[phase] += time.monotonic() - began
            visits[phase] += 1
            phase = before
            write()

    def watch(owner: type, method: str, name: str) -> None:
        original = getattr(owner, method)

        @functools.wraps(original)
        def watched(*args, **kwargs):
            with entered(name):
                return original(*args, **kwargs)

        setattr(owner, method, watched)

    write()
    import mbrl.training.loop as loop
    from mbrl.cli import main
    from mbrl.dynamics import GaussianEnsemble
    from mbrl.learners.sac import SAC
    from mbrl.training.run_folder import RunFolder

    watch(RunFolder, "load", "loading")
    watch(RunFolder, "save", "saving")
    watch(GaussianEnsemble, "fit", "fitting")
    watch(SAC, "improve", "learning")
    watch(loop, "evaluate", "evaluating")  # type: ignore[arg-type]
    advance, restore = loop.TrainingCounters.advance, loop.TrainingCounters.load_state_dict

    def advanced(self, reward, done) -> None:
        nonlocal phase, step
        advance(self, reward, done)
        step, phase = self.step, PHASES.index("collecting")
        write()

    def restored(self, state) -> None:
        nonlocal resumed
        restore(self, state)
        resumed = self.step
        write()

    loop.TrainingCounters.advance, loop.TrainingCounters.load_state_dict = advanced, restored
    return main(["train", *arguments])


# ---- the parent ---------------------------------------------------------------------------------


class Marks:
    """Where a child is, or was when it was killed."""

    def __init__(self, path: Path):
        self.path = path
        path.write_bytes(bytes(MARKS.size))

    def read(self) -> tuple[str, int, int]:
        phase, step, resumed, *_ = MARKS.unpack(self.path.read_bytes())
        return PHASES[phase], step, resumed

    def durations(self) -> dict[str, float]:
        _, _, _, *rest = MARKS.unpack(self.path.read_bytes())
        spent, visits = rest[: len(PHASES)], rest[len(PHASES) :]
        return {p: s / max(1, v) for p, s, v in zip(PHASES, spent, visits, strict=True)}


def start(marks: Marks, *arguments: str) -> subprocess.Popen:
    marks.path.write_bytes(bytes(MARKS.size))
    return subprocess.Popen(
        [sys.executable, __file__, "--child", str(marks.path), *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"exit status {process.returncode}: {process.args}")


def newest(run: Path) -> int:
    saved = sorted(p.name for p in (run / "checkpoints").glob("[0-9]*"))
    return int(saved[-1]) if saved else 0


def ends(run: Path) -> dict[str, object]:
    """Return what a run has come to: its last checkpoint's files and its record, times left out."""
    last = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    found: dict[str, object] = {
        name: hashlib.sha256((last / name).read_bytes()).hexdigest()
        for part in ("agent", "buffer", "env")
        for name in (f"{part}.safetensors", f"{part}.json")
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in r.items() if not k.startswith("time/")} for r in rows]
    return found


def kill(process: subprocess.Popen, marks: Marks, span: float, usual: dict, draws) -> str | None:
    """Kill a run; give how the moment was chosen, None if the run had ended before it."""
    if draws.random() < 0.4:
        how, delay = "random", draws.uniform(0, span)
    else:
        how = draws.choice((*PHASES[1:], "saving"))
        while process.poll() is None and marks.read()[0] != how:
            time.sleep(0.0001)
        delay = draws.uniform(0, usual[how])
    time.sleep(delay)
    if process.poll() is not None:
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return how


def write_rows(options: argparse.Namespace, rows: list[list[Any]]) -> None:
    """Write one row for each kill, below the command that made them."""
    with options.out.open("w", newline="") as file:
        file.write(
            "# python -m scripts.robustness.kill_resume "
            f"--kills {options.kills} --seed {options.seed}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "case", "aim", "phase", "step", "committed_step", "end"])
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--kills-per-run", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/kills.csv"))
    options = parser.parse_args()
    draws = random.Random(options.seed)
    rows, failures, resumptions = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        marks = Marks(Path(folder) / "marks")
        whole, spans, usual = {}, {}, {}
        for name, arguments in CASES.items():
            run, began = Path(folder) / f"whole {name}", time.monotonic()
            finish(start(marks, *arguments, f"run_dir={run}"))
            whole[name], spans[name] = ends(run), time.monotonic() - began
            usual[name] = marks.durations()
            print(f"{name}: unbroken in {spans[name]:.1f} s", flush=True)
        number = 0
        while len(rows) < options.kills:
            name = list(CASES)[number % len(CASES)]
            run = Path(folder) / f"broken {number}"
            fresh = [*CASES[name], f"run_dir={run}"]
            process, mine, expected = start(marks, *fresh), [], None
            while expected != 240 and len(mine) < min(
                options.kills_per_run, options.kills - len(rows)
            ):
                how = kill(process, marks, spans[name], usual[name], draws)
                phase, step, resumed = marks.read()
                if expected is not None and phase not in ("starting", "loading"):
                    resumptions.append((number, expected, resumed))
                if how is None:
                    break
                expected = newest(run)
                if step - expected > 20 + 2:  # save_every, and what a step of two adds
                    failures.append(f"run {number} lost steps {expected} to {step}")
                mine.append([number, name, how, phase, max(step, resumed, 0), expected])
                begun = (run / "config.yaml").exists()
                process = start(marks, *(["--resume", str(run)] if begun else fresh))
            finish(process)
            resumptions.append((number, expected or 0, marks.read()[2]))
            different = [k for k, v in ends(run).items() if v != whole[name][k]]
            failures += [f"run {number} ({name}): {k} differs" for k in different]
            verdict = "different" if different else "equal"
            rows += [[*row, verdict] for row in mine]
            print(f"run {number} ({name}): {len(mine)} kills, end {verdict}", flush=True)
            number += 1
    write_rows(options, rows)
    failures += [
        f"run {number} resumed from {resumed}, not {expected}"
        for number, expected, resumed in resumptions
        if max(resumed, 0) != expected  # -1: there was no checkpoint yet
    ]
    counts = {p: sum(row[3] == p for row in rows) for p in PHASES}
    print(f"{len(rows)} kills in {number} runs: {counts}")
    print("\n".join(failures) or "every run resumed and ended bit for bit as the unbroken one")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        raise SystemExit(child(Path(sys.argv[2]), sys.argv[3:]))
    main()
