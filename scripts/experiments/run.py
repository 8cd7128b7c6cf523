"""Run a study: every run once, each in a process of its own, rows kept as they are finished.

    python -m scripts.experiments.run STUDY [--tasks ...] [--methods ...] [--seeds ...] [--jobs N]
        [--set KEY=VALUE ...] [--runs DIR] [--keep] [--seconds S] [--again | --changed] [--list]
        [--build METHOD=DIR ...]
    python -m scripts.experiments.run STUDY --summary

Studies are in scripts/experiments/specs. Each run is one `mbrl train` on one thread. What is in the
table is not run again; a run that was broken off is resumed from its last checkpoint. With
--seconds, runs that are not done by then are stopped, their rows written, and resumed by the next
call. With --build, a method's runs are those of another checkout of this project, such as an older
commit. The table is in results/experiments, below the command that made it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.experiments.study import (
    RESULTS,
    ROOT,
    BadStudy,
    Run,
    Study,
    add_relative,
    function,
    load_study,
    summarize,
    summary_fields,
)
from scripts.experiments.table import read_table, write_table

INTERRUPTED = 130
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class RunFailed(RuntimeError):
    """Raised where a command ended with an error; it has printed why.

    Args:
        command: what was run.
        status: its exit status.
    """

    def __init__(self, command: list[str], status: int):
        """Name the command."""
        super().__init__(f"{' '.join(command)} ended with status {status}")


def run_mbrl(
    arguments: list[str],
    stop: Callable[[], bool] = lambda: False,
    output: Path | None = None,
    build: Path = ROOT,
) -> float:
    """Run `mbrl` on one thread and return its CPU seconds.

    Args:
        arguments: what follows `mbrl`.
        stop: asked every fifth of a second; once it is true the process is told to save and stop.
        output: file for what it prints, nothing by default.
        build: checkout whose `mbrl` runs.

    Raises:
        RunFailed: if it does not end well; to have been stopped is to end well.
    """
    command = [sys.executable, "-m", "mbrl", *arguments]
    with (output or Path(os.devnull)).open("w") as file:
        own = {} if build == ROOT else {"PYTHONPATH": str(build)}
        process = subprocess.Popen(
            command, env=os.environ | THREADS | own, stdout=file, cwd=build if own else None
        )
    told = False
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        if not told and stop():
            process.send_signal(signal.SIGTERM)
            told = True
        time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not (told and process.returncode in (INTERRUPTED, -signal.SIGTERM)):
        raise RunFailed(command, process.returncode)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Options:
    """How a study is run.

    Args:
        results: folder of the tables.
        folder: of the run folders.
        extra: settings of every run.
        jobs: runs at a time.
        keep: whether folders of finished runs stay.
        seconds: after which runs are stopped.
        builds: of methods, checkouts that run them.
        again: which rows are replaced: of `no` run, of those with a `changed` command, of `all`.
    """

    results: Path = RESULTS
    folder: Path = ROOT / "runs" / "studies"
    extra: list[str] = field(default_factory=list)
    jobs: int = 1
    keep: bool = False
    seconds: float | None = None
    builds: dict[str, Path] = field(default_factory=dict)
    again: str = "no"


def run_folder(folder: Path, run: Run) -> Path:
    """Return where a run stands until its rows are in the table."""
    return folder / f"{run.method}_{run.task}_{run.seed}".replace(" ", "-")


def evaluations(path: Path) -> list[dict[str, Any]]:
    """Read the evaluations of a run so far, a line of metrics.jsonl each."""
    result = {}
    if (path / "metrics.jsonl").exists():
        for line in (path / "metrics.jsonl").read_text().splitlines(keepends=True):
            row = json.loads(line) if line.endswith("\n") else {}
            if "eval/mean_reward" in row:
                result[row["step"]] = row
    return list(result.values())


def is_finished(path: Path) -> bool:
    """Return whether a run went to its end."""
    summary = path / "summary.json"
    return summary.exists() and json.loads(summary.read_text()).get("finished", True)


def measure(study: Study, run: Run, path: Path, cpu: float | None, command: str) -> list[dict]:
    """Return the quantities of a run, one dictionary an evaluation.

    Args:
        study: of the run.
        run: is named in them.
        path: its folder.
        cpu: seconds of its process, None if it was resumed.
        command: is named in them.
    """
    summary = json.loads((path / "summary.json").read_text())
    lines = {row["step"]: row for row in evaluations(path)}
    common = {
        "task": run.task, "method": run.method, "seed": run.seed, "command": command,
        "cpu_seconds": round(summary["time/cpu_seconds"] if cpu is None else cpu, 1),
        "wall_seconds": round(summary["time/wall_seconds"], 1),
    }  # fmt: skip
    if any(quantity.startswith("config.") for quantity in study.columns.values()):
        config = yaml.safe_load((path / "config.yaml").read_text())
        for quantity in study.columns.values():
            if quantity.startswith("config."):
                value = config
                for key in quantity.split(".")[1:]:
                    value = value[key]
                common[quantity] = value
    result, before = [], (0, 0.0)
    for evaluation in summary["evaluations"]:
        step, rewards = evaluation["step"], evaluation["rewards"]
        line = lines.get(step, {})
        score = line.get("eval/normalized_score")
        row = {
            **common, **of_returns(rewards, study.digits), "step": step,
            "score": None if score is None else round(score, 2),
        }  # fmt: skip
        if "time/wall_seconds" in line:
            wall = line["time/wall_seconds"]
            row["wall_so_far"] = round(wall, 1)
            row["cpu_so_far"] = round(line["time/cpu_seconds"], 1)
            row["steps_per_second"] = round((step - before[0]) / max(wall - before[1], 1e-9), 1)
            before = step, wall
        result.append(row)
    if study.measure:
        result = function(study.measure)(path, run.task, result)
    return _with_goal(study, result)


def of_returns(returns: list[float], digits: int) -> dict[str, float]:
    """Return what is known of the episodes of an evaluation."""
    values = {
        "return": sum(returns) / len(returns), "worst": min(returns), "best": max(returns),
        "std": statistics.pstdev(returns),
    }  # fmt: skip
    return {key: round(value, digits) for key, value in values.items()}


def _with_goal(study: Study, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not rows:
        return []
    if study.goal is not None:
        steps = [row["step"] for row in rows if row["return"] >= study.goal]
        best = max(row["return"] for row in rows)
        reached = steps[0] if steps else ""
        return [
            {**rows[-1], "reached": reached, "interactions": reached or rows[-1]["step"],
             "best_return": best}
        ]  # fmt: skip
    return rows[-1:] if study.rows == "last" else rows


class Runner:
    """The runs of one call: processes, and the tables that their rows go to.

    Args:
        study: what is run.
        options: how.
    """

    def __init__(self, study: Study, options: Options):
        """Start the clock."""
        self.study, self.options = study, options
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._end = time.monotonic() + options.seconds if options.seconds else float("inf")

    def command(self, run: Run) -> str:
        """Return the command of a run, as its rows have it."""
        if run.method in self.study.references:
            return self.study.references[run.method]
        return " ".join(["mbrl train", *self.study.arguments(run, self.options.extra)])

    def is_done(self, run: Run) -> bool:
        """Return whether a run's rows are in the table, and nothing of it is left to do."""
        rows = self._rows(run)
        if not rows or self.options.again == "all":
            return False
        path = run_folder(self.options.folder, run)
        if (path / "summary.json").exists() and not is_finished(path):
            return False  # stopped by --seconds
        column = self.study.column("command")
        same = not column or set(rows[0][column].split()) == set(self.command(run).split())
        if not same and self.options.again != "changed":
            print(f"{run.task} {run.method} seed {run.seed}: in the table by another command")
        return same or self.options.again != "changed"

    def _rows(self, run: Run) -> list[dict[str, str]]:
        rows = read_table(self.study.path(self.options.results, run.task))
        return [row for row in rows if self.study.key(row, run.task) == run]

    def finish(self, run: Run) -> None:
        """Train, from where a run was broken off, and write its rows.

        Args:
            run: of the study.

        Raises:
            RunFailed: if the run does not end well.
        """
        if self._stopped.is_set() or time.monotonic() >= self._end:
            return
        if run.method in self.study.references:
            self._refer(run)
            return
        path = run_folder(self.options.folder, run)
        note, command = path.with_name(f"{path.name}.command"), self.command(run)
        changed = note.exists() and note.read_text() != command
        if changed or self.options.again == "all" or not (path / "checkpoints").exists():
            shutil.rmtree(path, ignore_errors=True)  # or broken off before its first checkpoint
        resumed, cpu = path.exists(), None
        arguments = ["--resume", str(path)]
        if not resumed:
            path.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(command)
            arguments = [*self.study.arguments(run, self.options.extra), f"run_dir={path}"]
        if not (resumed and is_finished(path)):
            build = self.options.builds.get(run.method, ROOT)
            cpu = run_mbrl(["train", *arguments], lambda: self._should_stop(path), build=build)
        if self._stopped.is_set() or not (path / "summary.json").exists():
            return  # stopped, perhaps before it could begin
        rows = measure(self.study, run, path, None if resumed else cpu, command)
        if not rows:
            return
        self._keep(run, rows)
        reached = self.study.goal is not None and rows[0]["reached"] != ""
        if (is_finished(path) or reached) and not self.options.keep:
            shutil.rmtree(path)
            note.unlink(missing_ok=True)

    def _should_stop(self, path: Path) -> bool:
        goal = self.study.goal
        reached = goal is not None and any(
            row["eval/mean_reward"] >= goal for row in evaluations(path)
        )
        return reached or self._stopped.is_set() or time.monotonic() >= self._end

    def _refer(self, run: Run) -> None:
        returns = function(self.study.references[run.method])(run.task, run.seed)
        row = {
            "task": run.task, "method": run.method, "seed": run.seed, "step": 0, "cpu_seconds": 0.0,
            "command": self.command(run), **of_returns(returns, self.study.digits),
        }  # fmt: skip
        self._keep(run, _with_goal(self.study, [row]))

    def _keep(self, run: Run, rows: list[dict[str, Any]]) -> None:
        study = self.study
        path = study.path(self.options.results, run.task)
        with self._lock:
            kept: list[dict[str, Any]] = [
                row for row in read_table(path) if study.key(row, run.task) != run
            ]
            kept += [{c: row.get(q, "") for c, q in study.columns.items()} for row in rows]
            tasks, methods = [*study.tasks], [*study.methods, *study.references]
            step = study.column("step")

            def order(row: dict[str, Any]) -> tuple[Any, ...]:
                key = study.key(row, run.task)
                places = [
                    names.index(name) if name in names else len(names)
                    for names, name in ((tasks, key.task), (methods, key.method))
                ]
                return (*places, key.task, key.method, key.seed, int(row[step]) if step else 0)

            kept.sort(key=order)
            add_relative(study, kept, run.task)
            write_table(path, command_of(study), list(study.columns), kept)
            values = " ".join(f"{row['return']:g}" for row in rows)
            reached = f"goal at {rows[0]['reached'] or 'no step'}, " if study.goal else ""
            print(
                f"{run.task} {run.method} seed {run.seed}: {reached}{values}, "
                f"{rows[-1]['cpu_seconds']} CPU s",
                flush=True,
            )

    def stop(self) -> None:
        """Stop: no run starts any more, those that go on save and end."""
        self._stopped.set()


def command_of(study: Study) -> str:
    """Return the command at the head of a study's tables."""
    return f"python -m scripts.experiments.run {study.name}"


def run_study(study: Study, runs: Iterable[Run], options: Options) -> int:
    """Run what is not done; a run that fails does not keep the others from being done.

    Args:
        study: what is run.
        runs: of the study, in order.
        options: how.

    Returns:
        0, or 1 if a run failed, or 130 if interrupted; the same call goes on.
    """
    runner = Runner(study, options)
    runs = [run for run in runs if not runner.is_done(run)]
    failures = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(runner.finish, run) for run in runs]
        try:
            for job in as_completed(jobs):
                try:
                    job.result()
                except RunFailed as failure:
                    print(failure, file=sys.stderr)
                    failures += 1
        except KeyboardInterrupt:
            runner.stop()
            pool.shutdown(cancel_futures=True)
            print("interrupted; the same command goes on", file=sys.stderr)
            return INTERRUPTED
        except BaseException:
            runner.stop()
            raise
    return int(failures > 0)


def tables(study: Study, results: Path) -> dict[str, list[dict[str, str]]]:
    """Read the tables of a study, rows by task; tasks without a row are left out."""
    found = {task: read_table(study.path(results, task)) for task in study.tasks}
    return {
        task: own
        for task, rows in found.items()
        if (own := [row for row in rows if study.key(row, task).task == task])
    }


def show_summary(study: Study, results: Path) -> None:
    """Print the summary of a study, and write its table if it has one."""
    lines = summarize(study, tables(study, results))
    for line in lines:
        print("  ".join(f"{key} {value}" for key, value in line.items()))
    if lines and "table" in study.summary:
        path = results / study.summary["table"]
        write_table(path, f"{command_of(study)} --summary", summary_fields(study), lines)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Build a parser with the options that all studies share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", metavar="TASK")
    parser.add_argument("--methods", nargs="+", metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--jobs", type=positive, default=1, help="runs at a time")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=Path, help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def positive(text: str) -> int:
    """Convert a count from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} should be a whole number from 1")
    return int(text)


def main() -> int:
    """Run a study, then print its summary."""
    parser = parser_of(__doc__)
    parser.add_argument("study", metavar="STUDY", help="name of a spec, or a YAML file")
    parser.add_argument("--keep", action="store_true", help="leave folders of finished runs")
    parser.add_argument("--seconds", type=float, help="stop runs after so long")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--again", action="store_const", const="all", default="no")
    again.add_argument("--changed", action="store_const", const="changed", dest="again",
                       help="run again what the table has by another command")  # fmt: skip
    parser.add_argument("--build", nargs="+", default=[], metavar="METHOD=DIR")
    parser.add_argument("--list", action="store_true", help="print the commands, run nothing")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        study = load_study(given.study)
        runs = study.runs(given.tasks, given.methods, given.seeds)
        folder = given.runs or ROOT / "runs" / "studies" / study.name
        pairs = (text.partition("=") for text in given.build)
        builds = {method: Path(folder).resolve() for method, _, folder in pairs}
        options = Options(given.results, folder.resolve(), given.set, given.jobs, given.keep,
                          given.seconds, builds, given.again)  # fmt: skip
        if given.list:
            for run in runs:
                print(Runner(study, options).command(run))
            return 0
        status = 0 if given.summary else run_study(study, runs, options)
    except BadStudy as error:
        parser.error(str(error))
    if status != INTERRUPTED:
        show_summary(study, given.results)
    return status


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
