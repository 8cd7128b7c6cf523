"""Kill commands with SIGKILL at random moments, go on, and compare the ends bit for bit.

python -m scripts.robustness.kill_resume [--kills 300] [--kills-per-run 5] [--seed 0] [--only CASE]
    [--out results/robustness/kills.csv]

Runs come one after the other: a small training with every agent (mbrl/configs/agent), and `mbrl
collect`, `distill` and `report`. Each process is forked from one that has imported everything, so
that its life is work and not imports. Two in five kills come at a random time of its life, the
others at a random moment within a phase drawn at random, saving twice as often. A training fails if
it resumes from anything but the newest checkpoint that was committed when it was killed, or if its
last checkpoint or its record differs from an unbroken run's. The others fail if the same command
with the same name does not end with the same file. Rows are appended: begun again, the script goes
on behind the last run in the table.
"""

import argparse
import csv
import hashlib
import importlib
import json
import mmap
import os
import pkgutil
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
DATA = "kills/pendulum-v0"
COMMON = [
    "experiment=none", "total_steps=120", "save_every=20", "eval_every=60", "eval_episodes=1",
    "log_every=10",
]  # fmt: skip
STARTS = ["agent.learning_starts=40"]
MODEL = [
    "dynamics.hidden=16", "dynamics.num_layers=2", "dynamics.training.min_updates=50",
    "dynamics.training.max_updates=100",
]  # fmt: skip
DYNA = [
    *COMMON, *STARTS, *MODEL, "agent.retrain_interval=20", "agent.num_rollouts=200",
    "agent.updates_per_step=2", "agent.rollout_length=[0,100,1,3]", "learner.hidden=16",
]  # fmt: skip
OFFLINE = ["env=pendulum", f"dataset={DATA}", *COMMON, "learner.hidden=16"]
OFFLINE_MODEL = [
    *OFFLINE, "dynamics.hidden=16", "dynamics.training.min_updates=30",
    "dynamics.training.max_updates=60", "agent.num_rollouts=50", "agent.rollout_length=3",
    "agent.rollout_interval=40",
]  # fmt: skip
CASES = {  # name -> arguments of `mbrl train`
    "mbpo": ["agent=mbpo", *DYNA, "env=inverted_pendulum"],
    "mbpo, 2 environments": ["agent=mbpo", *DYNA, "env=pendulum", "env.num_envs=2", "seed=1"],
    "coplanner": [
        "agent=coplanner", *DYNA, "env=pendulum_sparse",
        "agent.exploration_actions.num_candidates=4", "agent.rollout_actions.num_candidates=4",
    ],
    "pets": [
        "agent=pets", *COMMON, *STARTS, *MODEL, "agent.retrain_interval=40",
        "env=inverted_pendulum", "planner.horizon=4", "planner.num_samples=20",
        "planner.num_elites=5", "planner.num_iterations=2", "planner.warm_iterations=2",
    ],
    "sindy_mpc": [
        "agent=sindy_mpc", *COMMON, *STARTS, "env=pendulum", "agent.retrain_interval=40",
        "planner.horizon=4", "planner.num_samples=20", "planner.num_elites=5",
        "planner.num_iterations=2", "planner.warm_iterations=2",
    ],
    "mip_mpc": [
        "agent=mip_mpc", *COMMON, "env=push", "agent.retrain_interval=60",
        "agent.learning_starts=100", "eval_every=120", "planner.max_nodes=1",
        "dynamics.dense_updates=50", "dynamics.stage_updates=50", "planner.horizon=2",
    ],
    "sindy_rl": [
        "agent=sindy_rl", *COMMON, *STARTS, "env=pendulum", "agent.updates_per_refit=1",
        "learner.num_steps=5", "learner.num_model_envs=4", "learner.learning_starts=10",
        "dynamics.num_members=3", "dynamics.num_elites=2",
    ],
    "sac": [
        "agent=sac", *COMMON, *STARTS, "env=gym", "env.id=MountainCarContinuous-v0",
        "env.num_envs=2", "learner.hidden=32", "agent.updates_per_step=4",
        "env.max_episode_steps=50",
    ],
    "sb3_sac": ["agent=sb3_sac", *COMMON, "env=pendulum", "agent.learning_starts=40"],
    "sb3_ppo": ["agent=sb3_ppo", *COMMON, "env=pendulum"],
    "random": ["agent=random", *COMMON, "env=pendulum"],
    "bc": ["agent=bc", *OFFLINE],
    "td3_bc": ["agent=td3_bc", *OFFLINE],
    "iql": ["agent=iql", *OFFLINE],
    "mopo": ["agent=mopo", *OFFLINE_MODEL],
    "mobile": ["agent=mobile", *OFFLINE_MODEL],
    "combo": ["agent=combo", *OFFLINE_MODEL],
    "morec": [
        "agent=morec", *(word.replace("dynamics.", "dynamics.base.") for word in OFFLINE_MODEL),
    ],
}  # fmt: skip
COMMANDS = {  # name -> arguments, {} for the output
    "collect": ["collect", "SOURCE", "--steps", "400", "--mix", "random,expert", "--id", "{}-v0"],
    "distill": ["distill", "SOURCE", "--starts", "1", "--polish", "0", "--max-terms", "2",
                "--out", "{}"],
    "report": ["report", "{}"],
}  # fmt: skip
PHASES = ("starting", "loading", "acting", "learning", "evaluating", "saving")
MARKS = struct.Struct(f"b2q{2 * len(PHASES)}d")  # phase, step, resumed from, seconds and visits


class Marks:
    """Where a child is, or was when it was killed: memory that it shares with its parent."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, MARKS.size)
        self.clear()

    def clear(self) -> None:
        self.memory[:] = MARKS.pack(0, 0, -1, *[0.0] * 2 * len(PHASES))

    def read(self) -> tuple[str, int, int]:
        phase, step, resumed, *_ = MARKS.unpack(self.memory[:])
        return PHASES[phase], step, resumed

    def durations(self) -> dict[str, float]:
        _, _, _, *rest = MARKS.unpack(self.memory[:])
        spent, visits = rest[: len(PHASES)], rest[len(PHASES) :]
        return {p: s / v for p, s, v in zip(PHASES, spent, visits, strict=True) if v}


def watch(marks: Marks) -> None:
    """Let what runs in this process keep its phase and its step in the marks."""
    import mbrl.data.minari_writer as writer
    import mbrl.report as report
    import mbrl.training.evaluation as evaluation
    from mbrl import agents
    from mbrl.config import restore
    from mbrl.training.counters import TrainingCounters
    from mbrl.training.run_folder import RunFolder

    def note(**changes: int) -> None:
        phase, step, resumed, *rest = MARKS.unpack(marks.memory[:])
        kept = {"phase": phase, "step": step, "resumed": resumed} | changes
        marks.memory[:] = MARKS.pack(kept["phase"], kept["step"], kept["resumed"], *rest)

    @contextmanager
    def entered(name: str) -> Iterator[None]:
        before, began = MARKS.unpack(marks.memory[:])[0], time.monotonic()
        note(phase=PHASES.index(name))
        yield
        head, rest = (values := MARKS.unpack(marks.memory[:]))[:3], list(values[3:])
        rest[PHASES.index(name)] += time.monotonic() - began
        rest[len(PHASES) + PHASES.index(name)] += 1
        marks.memory[:] = MARKS.pack(before, *head[1:], *rest)

    def wrap(owner: Any, name: str, phase: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            with entered(phase):
                return original(*args, **options)

        setattr(owner, name, watched)

    wrap(RunFolder, "load", "loading")
    wrap(RunFolder, "save", "saving")
    wrap(restore, "build", "loading")
    wrap(writer, "write_dataset", "saving")
    wrap(report, "write_report", "saving")
    wrap(evaluation, "evaluate", "evaluating")
    for kind in {getattr(agents, name) for name in agents.__all__}:
        for method in ("update", "fit", "learn"):
            if method in vars(kind):
                wrap(kind, method, "learning")
        if "act" in vars(kind):
            wrap(kind, "act", "acting")
    advance, restored = TrainingCounters.advance, TrainingCounters.load_state_dict

    def advanced(self: Any, *arguments: Any) -> None:
        advance(self, *arguments)
        note(step=self.step)

    def loaded(self: Any, state: dict[str, Any]) -> None:
        restored(self, state)
        note(resumed=self.step, step=self.step)

    setattr(TrainingCounters, "advance", advanced)  # noqa: B010
    setattr(TrainingCounters, "load_state_dict", loaded)  # noqa: B010


def warm() -> None:
    """Import everything that a child needs."""
    import h5py  # noqa: F401
    import highspy  # noqa: F401
    import minari  # noqa: F401
    import mujoco  # noqa: F401
    import stable_baselines3  # noqa: F401
    import torch

    import mbrl

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(mbrl.__path__, "mbrl."):
        if not module.name.startswith(("mbrl.moved", "mbrl.__main__")):
            importlib.import_module(module.name)


def start(marks: Marks, *arguments: str) -> int:
    """Fork a process that runs a command; return its number."""
    marks.clear()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from mbrl.cli import main

        watch(marks)
        status = main(list(arguments))
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(process: int) -> int | None:
    """Return the exit status of a process that has ended, None of one that runs."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def finish(process: int) -> None:
    """Wait for a process, which must end well."""
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(
            f"exit status {os.waitstatus_to_exitcode(status)}: {Path('log').read_text()}"
        )


def newest(run: Path) -> int:
    """Return the step of a run's newest checkpoint, 0 without one."""
    saved = sorted(p.name for p in (run / "checkpoints").glob("[0-9]*"))
    return int(saved[-1]) if saved else 0


def ends(run: Path) -> dict[str, object]:
    """Return what a run has come to: its last checkpoint's files and its record, times left out."""
    last = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    found: dict[str, object] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(last.iterdir())
        if file.stem in ("agent", "buffer", "env")
    }
    record = run / "metrics.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    found["metrics"] = [{k: v for k, v in r.items() if not k.startswith("time/")} for r in rows]
    return found


def made(command: str, name: str) -> dict[str, object] | None:
    """Return what a command has made under a name, None if the name is free."""
    if command == "collect":
        file = Path("datasets", f"{name}-v0", "data", "metadata.json")
        return json.loads(file.read_text()) | {"dataset_id": ""} if file.exists() else None
    if command == "distill":
        return ends(Path(name)) if Path(name).exists() else None
    page = Path(name, "report.html")
    return {"page": page.read_text().replace(name, "")} if page.exists() else None


def kill(process: int, marks: Marks, span: float, usual: dict, draws: random.Random) -> str | None:
    """Kill a process; return how the moment was chosen, None if it had ended before it."""
    if draws.random() < 0.4:
        how, delay = "random", draws.uniform(0, span)
    else:
        how = str(draws.choice([*usual, *(["saving"] if "saving" in usual else [])]))
        delay = draws.uniform(0, usual[how])
        while marks.read()[0] != how:
            if (status := ended(process)) is not None:
                return _well(status)
            time.sleep(0.0001)
    time.sleep(delay)
    if (status := ended(process)) is not None:
        return _well(status)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return how


def _well(status: int) -> None:
    """Check that a process that was not killed has ended well."""
    if status:
        raise SystemExit(f"exit status {status}: {Path('log').read_text()}")


class Trial:
    """A run that is killed several times, and what must come of it.

    Attributes:
        rows: case, aim, phase, step, committed step of each kill.
        failures: what was wrong.
    """

    def __init__(self, case: str, number: int, marks: Marks):
        self.case, self.name, self.marks = case, f"broken-{number}", marks
        self.rows: list[list[Any]] = []
        self.failures: list[str] = []
        self.arguments = whole_arguments(case, self.name)
        if case == "report":
            shutil.copytree("SOURCE", self.name)

    def go(self, whole: dict[str, object], span: float, usual: dict, most: int, draws: Any) -> None:
        training = self.case in CASES
        run = Path(self.name)
        process, expected = start(self.marks, *self.arguments), None
        while len(self.rows) < most:
            how = kill(process, self.marks, span, usual, draws)
            phase, step, resumed = self.marks.read()
            self._check_resumed(expected, phase, resumed)
            if how is None:
                process = 0
                break
            expected = newest(run) if training else None
            if training and step - (expected or 0) > 22:  # save_every, and a step of two
                self.failures.append(f"{self.name} lost steps {expected} to {step}")
            self.rows.append([self.case, how, phase, max(step, 0), expected or 0])
            if not training and self._is_there(whole):
                break
            begun = training and (run / "config.yaml").exists()
            again = ["train", "--resume", self.name] if begun else self.arguments
            process = start(self.marks, *again)
        if process and ended_or_running(process):
            finish(process)
            self._check_resumed(expected, "ended", self.marks.read()[2])
        got = ends(run) if training else made(self.case, self.name)
        if got != whole:
            self.failures.append(f"{self.name} ({self.case}): its end differs")
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(Path("datasets", f"{self.name}-v0"), ignore_errors=True)

    def _is_there(self, whole: dict[str, object]) -> bool:
        """Return whether the killed command had done its work."""
        return self.case != "report" and made(self.case, self.name) == whole

    def _check_resumed(self, expected: int | None, phase: str, resumed: int) -> None:
        """Check that a run was resumed from its newest checkpoint."""
        known = phase not in ("starting", "loading") and expected is not None
        if known and max(resumed, 0) != expected:  # -1: there was no checkpoint yet
            self.failures.append(f"{self.name} resumed from {resumed}, not {expected}")


def ended_or_running(process: int) -> bool:
    """Return whether a process is still this one's child."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def whole_arguments(case: str, name: str) -> list[str]:
    """Return the arguments of a case whose output has a name."""
    if case in CASES:
        return ["train", *CASES[case], f"run_dir={name}"]
    return [word.replace("{}", name) for word in COMMANDS[case]]


def prepare(marks: Marks) -> None:
    """Train what the other commands need, and collect the offline agents' dataset."""
    finish(start(marks, "train", *CASES["sindy_rl"], "run_dir=SOURCE"))
    finish(start(marks, "collect", "SOURCE", "--steps", "300", "--mix", "random", "--id", DATA))


def unbroken(case: str, marks: Marks) -> tuple[dict[str, object], float, dict[str, float]]:
    """Run a case without a kill; return its end, its seconds, and those of each phase."""
    name, began = f"whole-{list([*CASES, *COMMANDS]).index(case)}", time.monotonic()
    if case == "report":
        shutil.copytree("SOURCE", name)
    finish(start(marks, *whole_arguments(case, name)))
    span = time.monotonic() - began
    end = ends(Path(name)) if case in CASES else made(case, name)
    assert end is not None
    print(f"{case}: unbroken in {span:.1f} s", flush=True)
    return end, span, marks.durations()


def written(out: Path) -> list[list[str]]:
    """Return the rows that are in the table already."""
    if not out.exists():
        return []
    with out.open(newline="") as file:
        lines = [line for line in file if not line.startswith("#")]
    return list(csv.reader(lines))[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--kills-per-run", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", metavar="CASE", help="may be repeated")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/kills.csv"))
    options = parser.parse_args()
    out, rows = options.out.resolve(), written(options.out)
    if not rows:
        out.write_text(
            f"# python -m scripts.robustness.kill_resume --kills {options.kills} "
            f"--seed {options.seed}\nrun,case,aim,phase,step,committed_step,end\n"
        )
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    folder = tempfile.mkdtemp(prefix="kills-")
    os.environ["MINARI_DATASETS_PATH"] = str(Path(folder, "datasets"))
    os.chdir(folder)
    warm()
    marks = Marks()
    prepare(marks)
    failures: list[str] = []
    known: dict[str, tuple[dict[str, object], float, dict[str, float]]] = {}
    number = 1 + max((int(row[0]) for row in rows), default=-1)
    done = len(rows)
    cases = options.only or [*CASES, *COMMANDS]
    while done < options.kills:
        case, draws = cases[number % len(cases)], random.Random(f"{options.seed} {number}")
        known[case] = known.get(case) or unbroken(case, marks)
        trial = Trial(case, number, marks)
        end, span, usual = known[case]
        most = min(options.kills_per_run, options.kills - done)
        trial.go(end, span, usual, most, draws)
        verdict = "different" if trial.failures else "equal"
        with out.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([[number, *row, verdict] for row in trial.rows])
        done, number = done + len(trial.rows), number + 1
        failures += trial.failures
        print(f"run {number - 1} ({case}): {len(trial.rows)} kills, end {verdict}", flush=True)
    os.chdir("/")
    shutil.rmtree(folder)
    rows = written(out)
    counts = {phase: sum(row[3] == phase for row in rows) for phase in PHASES}
    different = [row for row in rows if row[6] != "equal"]
    print(f"{len(rows)} kills: {counts}; {len(different)} in runs that ended differently")
    print("\n".join(failures) or "every run went on and ended bit for bit as the unbroken one")
    raise SystemExit(bool(failures or different))


if __name__ == "__main__":
    main()
