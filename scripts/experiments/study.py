"""Studies: methods x tasks x seeds x settings, as specs/NAME.yaml says.

description: what is asked
table: NAME.csv                # in results/experiments; with <task> in it, one file a task
methods: {NAME: SETTINGS}      # of `mbrl train`, as one string or a list
tasks: {NAME: SETTINGS}        # or {settings: SETTINGS, KEY: VALUE}: <KEY> in a setting is VALUE
seeds: [0, 1]
settings: SETTINGS             # of every run
plan: [{tasks, methods, seeds, settings}]  # what is run, and in which order; without it, all
rows: each                     # a row for each evaluation, or the `last` one only
goal: 700                      # runs stop at the first evaluation that returns as much; one row
columns: {COLUMN: QUANTITY}    # of the table, see QUANTITIES
digits: 2                      # of returns
relative: {column: C, to: METHOD, paired: true}  # return over METHOD's, of the same seed
measure: package.function      # (run folder, task, rows): adds quantities to a run's rows
references: {NAME: package.function}  # (task, seed) -> returns of a method that does not train
summary: {value: COLUMN, baseline: METHOD, table: FILE}
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml

from mbrl.report import interval, iqm

ROOT = Path(__file__).parents[2]
SPECS = Path(__file__).parent / "specs"
RESULTS = ROOT / "results" / "experiments"
QUANTITIES = {
    "method": "name in the study",
    "task": "name in the study",
    "seed": "of the run",
    "step": "environment transitions (offline: updates) at the evaluation",
    "return": "mean of the evaluation's episodes",
    "worst": "lowest return of an episode",
    "best": "highest return of an episode",
    "std": "standard deviation of the returns",
    "score": "normalized, 0 to 100, where the dataset has references",
    "cpu_seconds": "of the whole run; imports included, unless it was resumed",
    "wall_seconds": "of the whole run, without imports",
    "cpu_so_far": "CPU seconds up to the evaluation",
    "wall_so_far": "wall seconds up to the evaluation",
    "steps_per_second": "of wall time, since the evaluation before",
    "reached": "step of the first evaluation that reached the goal; empty if none did",
    "interactions": "step of the goal, or the last one",
    "best_return": "highest return of an evaluation",
    "command": "of the run",
}


class Run(NamedTuple):
    """One run of a study."""

    task: str
    method: str
    seed: int


class BadStudy(ValueError):
    """Raised where a study cannot be read or does not have what is asked for."""


@dataclass(frozen=True)
class Study:
    """A study; the module's docstring has the fields."""

    name: str
    description: str
    table: str
    methods: dict[str, list[str]]
    tasks: dict[str, dict[str, Any]]
    seeds: list[int]
    settings: list[str] = field(default_factory=list)
    plan: list[dict[str, Any]] = field(default_factory=list)
    rows: Literal["each", "last"] = "each"
    goal: float | None = None
    columns: dict[str, str] = field(default_factory=dict)
    digits: int = 2
    relative: dict[str, Any] | None = None
    measure: str | None = None
    references: dict[str, str] = field(default_factory=dict)
    summary: dict[str, str] = field(default_factory=dict)

    def arguments(self, run: Run, extra: Iterable[str] = ()) -> list[str]:
        """Return what follows `mbrl train`, but for run_dir.

        Args:
            run: of the study.
            extra: settings that win over those of the study.

        Raises:
            BadStudy: if a setting names a value that the task does not have.
        """
        task = self.tasks[run.task]

        def value(match: re.Match[str]) -> str:
            if match[1] not in task:
                raise BadStudy(f"{self.name}: task {run.task} has no value for <{match[1]}>")
            return str(task[match[1]])

        settings = [*self.methods[run.method], *task["settings"], f"seed={run.seed}"]
        settings += self.settings
        for part in self.plan:
            if run.task in part.get("tasks", self.tasks) and run.method in self._methods(part):
                settings += _settings(part.get("settings"))
        return [*(re.sub(r"<(\w+)>", value, text) for text in settings), *extra]

    def _methods(self, part: dict[str, Any]) -> list[str]:
        return part.get("methods") or [*self.methods, *self.references]

    def path(self, results: Path, task: str) -> Path:
        """Return the table of a task."""
        return results / self.table.replace("<task>", task)

    def column(self, quantity: str) -> str | None:
        """Return the column that holds a quantity, None if none does."""
        return next((c for c, q in self.columns.items() if q == quantity), None)

    def key(self, row: dict[str, Any], task: str) -> Run:
        """Return the run that a row of a task's table is of."""
        column = self.column("task")
        seed = int(row[self.column("seed") or "seed"])
        return Run(row[column] if column else task, row[self.column("method") or "method"], seed)

    def runs(
        self,
        tasks: list[str] | None = None,
        methods: list[str] | None = None,
        seeds: list[int] | None = None,
    ) -> list[Run]:
        """Return the runs of the plan, methods of a seed together.

        Args:
            tasks: only these; with methods too, their product, planned or not.
            methods: only these.
            seeds: instead of the plan's.

        Raises:
            BadStudy: if a name is not in the study, or not in its plan.
        """
        known = {"task": self.tasks, "method": self.methods | self.references}
        for kind, names in (("task", tasks), ("method", methods)):
            for name in names or []:
                if name not in known[kind]:
                    raise BadStudy(f"{self.name} has no {kind} {name}; it has "
                                   f"{', '.join(known[kind])}")  # fmt: skip
        parts: list[dict[str, Any]] = self.plan
        if tasks and methods:
            parts = [{"tasks": tasks, "methods": methods}]
        result = []
        for part in parts or [{}]:
            for task in part.get("tasks") or self.tasks:
                for seed in seeds or part.get("seeds") or self.seeds:
                    for method in self._methods(part):
                        if (not tasks or task in tasks) and (not methods or method in methods):
                            result.append(Run(task, method, seed))
        for place, names in ((0, tasks), (1, methods)):
            for name in set(names or []) - {run[place] for run in result}:
                raise BadStudy(f"{self.name}: {name} is not planned; name tasks and methods both")
        return list(dict.fromkeys(result))


def load_study(name: str) -> Study:
    """Read a study.

    Args:
        name: of specs/NAME.yaml, or the path of a YAML file.

    Raises:
        BadStudy: if there is none, or a field is missing or unknown.
    """
    path = Path(name) if name.endswith(".yaml") else SPECS / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in SPECS.glob("*.yaml")))
        raise BadStudy(f"no study {name}; there are {names}")
    read = yaml.safe_load(path.read_text())
    read["methods"] = {str(k): _settings(v) for k, v in read.get("methods", {}).items()}
    read["settings"] = _settings(read.get("settings"))
    tasks = read.get("tasks", {})
    read["tasks"] = {
        str(k): {**v, "settings": _settings(v.get("settings"))}
        if isinstance(v, dict)
        else {"settings": _settings(v)}
        for k, v in tasks.items()
    }
    try:
        study = Study(name=path.stem, **read)
    except TypeError as error:
        raise BadStudy(f"{path}: {error}") from None
    for column, quantity in study.columns.items():
        own = quantity in QUANTITIES or quantity.startswith("config.") or study.measure
        if not own and column != (study.relative or {}).get("column"):
            raise BadStudy(f"{path}: columns.{column}={quantity}: should be one of "
                           f"{', '.join(QUANTITIES)}")  # fmt: skip
    return study


def _settings(value: str | list[str] | None) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [str(item) for item in value or []]


def function(name: str) -> Callable[..., Any]:
    """Return a function by its full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def add_relative(study: Study, rows: list[dict[str, Any]], task: str) -> None:
    """Write each row's return over that of the reference method, in place.

    What is paired by seed and stands there already is left as it is: it may come from returns that
    were not rounded yet.

    Args:
        study: has `relative`, or nothing is done.
        rows: of one table.
        task: of the table, where it has no column of tasks.
    """
    if study.relative is None:
        return
    value, column = study.column("return") or "return", study.relative["column"]
    paired = study.relative.get("paired")
    keys = [study.key(row, task) for row in rows]
    for key, row in zip(keys, rows, strict=True):
        if paired and row.get(column):
            continue
        base = [
            float(other[value])
            for k, other in zip(keys, rows, strict=True)
            if k.method == study.relative["to"] and k.task == key.task
            and (k.seed == key.seed or not paired)
        ]  # fmt: skip
        ratio = float(row[value]) * len(base) / sum(base) if base else None
        row[column] = "" if ratio is None else round(ratio, 3)


def last_values(study: Study, rows: list[dict[str, str]], task: str) -> dict[str, dict[int, float]]:
    """Return the value of each run's last row: method -> seed -> value.

    Args:
        study: says which column (summary.value; the goal's interactions; or the return).
        rows: of a table.
        task: rows of others are left out.
    """
    column, step = value_column(study), study.column("step")
    result: dict[str, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: int(row[step]) if step else 0):
        run = study.key(row, task)
        if run.task == task and row[column] != "":
            result.setdefault(run.method, {})[run.seed] = float(row[column])
    return result


def value_column(study: Study) -> str:
    """Return the column that a summary is made of."""
    default = study.column("interactions" if study.goal is not None else "return")
    return study.summary.get("value") or default or "return"


def summarize(study: Study, tables: dict[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    """Return the interquartile mean of each task's and method's last values, with an interval.

    Intervals are 95%, from a bootstrap over the seeds. Against the study's baseline differences are
    paired by seed.

    Args:
        study: of the tables.
        tables: rows by task.
    """
    value, baseline = value_column(study), study.summary.get("baseline")
    lines = []
    for task, rows in tables.items():
        found = last_values(study, rows, task)
        for method, values in found.items():
            own = np.array([values[seed] for seed in sorted(values)])
            line: dict[str, Any] = {"task": task, "method": method, "runs": len(own)}
            for key, number in zip((value, "low", "high"), interval([own]), strict=True):
                line[key] = round(number, 1)
            line["range"] = round(float(own.max() - own.min()), 1)
            shared = sorted(set(values) & set(found.get(baseline or "", {})))
            if baseline and method != baseline and shared:
                gaps = np.array([values[seed] - found[baseline][seed] for seed in shared])
                low, high = interval([gaps])[1:]
                line[f"above_{baseline}"] = f"{iqm(gaps):.1f} [{low:.1f}, {high:.1f}]"
            line["values"] = " ".join(f"{x:.1f}" for x in own)
            lines.append(line)
    return lines


def summary_fields(study: Study) -> list[str]:
    """Return the columns of a study's summary."""
    value, baseline = value_column(study), study.summary.get("baseline")
    above = [f"above_{baseline}"] if baseline else []
    return ["task", "method", "runs", value, "low", "high", "range", *above, "values"]
