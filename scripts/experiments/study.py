"""Studies: many runs of `mbrl train`, each done once; their evaluations are kept in tables."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

_INTERRUPTED = 130


class RunFailed(RuntimeError):
    """Report a command that ended with an error; it has said why.

    Args:
        command: what was run.
        status: its exit status.
    """

    def __init__(self, command: list[str], status: int):
        """Name the command."""
        super().__init__(f"{' '.join(command)} ended with status {status}")
        self.interrupted = status in (_INTERRUPTED, -2)


def run_mbrl(arguments: list[str]) -> None:
    """Run `mbrl` on one thread.

    Args:
        arguments: what follows `mbrl`.

    Raises:
        RunFailed: if it does not end well.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mbrl", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise RunFailed(command, done.returncode)


def finish_run(arguments: list[str], path: Path) -> list[dict[str, Any]]:
    """Train, from where a run was broken off, and give its evaluations; a finished run is read.

    Args:
        arguments: of `mbrl train`, but for run_dir.
        path: the run's folder.

    Returns:
        A row for each evaluation: step, return, score (None where the dataset has no reference
        returns), cpu_seconds, wall_seconds, command.

    Raises:
        RunFailed: if the run does not end well.
    """
    if path.exists() and not (path / "checkpoints").exists():
        shutil.rmtree(path)  # broken off before its first checkpoint
    resumed = ["--resume", str(path)]
    run_mbrl(["train", *(resumed if path.exists() else [*arguments, f"run_dir={path}"])])
    summary = json.loads((path / "summary.json").read_text())
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = {row["step"]: row for row in lines if "eval/mean_reward" in row}
    scores = {step: row.get("eval/normalized_score") for step, row in found.items()}
    return [
        {
            "step": step,
            "return": round(row["eval/mean_reward"], 2),
            "score": None if scores[step] is None else round(scores[step], 2),
            "cpu_seconds": round(summary["time/cpu_seconds"], 1),
            "wall_seconds": round(summary["time/wall_seconds"], 1),
            "command": "mbrl train " + " ".join(arguments),
        }
        for step, row in found.items()
    ]


def complete(jobs: Iterable[Callable[[], object]], *, num_jobs: int) -> list[RunFailed]:
    """Do everything, num_jobs at a time; one that fails does not keep the rest from being done.

    Args:
        jobs: what is to be done.
        num_jobs: threads.

    Returns:
        What failed.

    Raises:
        KeyboardInterrupt: at once, if this or a run was interrupted; nothing new is begun.
    """
    failures = []
    with ThreadPoolExecutor(num_jobs) as pool:
        waiting = [pool.submit(job) for job in jobs]
        try:
            for job in as_completed(waiting):
                try:
                    job.result()
                except RunFailed as failure:
                    if failure.interrupted:
                        raise KeyboardInterrupt from None
                    failures.append(failure)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def read_table(path: Path) -> list[dict[str, str]]:
    """Give the rows of a table, none if it is not there.

    Args:
        path: of a CSV file; lines that begin with # are left out.
    """
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def write_table(
    path: Path, how: str, fields: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    """Write a table, all or none.

    Args:
        path: of the CSV file.
        how: the command that made it, for the first line.
        fields: the columns.
        rows: their values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", newline="") as file:
        file.write(f"# {how}\n")
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)
