"""`mbrl fit`: models of recorded runs, compared on held-out episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mbrl.config.arguments import parse_value
from mbrl.errors import BadInput

_LISTS = ("obs", "action", "angle")  # names of columns, with commas
_TEXTS = ("time", "episode", "dynamics", "run_dir", "missing")
_NUMBERS = ("rate", "action_shift", "holdout", "seed", "num_threads")
_HELP = """usage: mbrl fit DATA [DATA ...] obs=NAME,NAME action=NAME [KEY=VALUE ...] [--json]

Fit models to recorded runs, measure them on held-out episodes, save the best one as a run with
report.html. DATA are files or folders: CSV, npz, Parquet, LeRobot v3.

  obs=x,y             columns that are the state
  action=u            columns that are the inputs; a row's action belongs to the step that follows
  time=t              column of seconds
  episode=run         column that numbers the episodes; without one each file is an episode
  angle=heading       observations that are angles in radians and wrap
  rate=auto           auto resamples uneven time, as_recorded leaves it, a number is in Hz
  missing=refuse      or split: a new episode where a value is missing
  action_shift=0      rows by which actions are late (-1) or early (1) in the data
  holdout=0.3         share of the episodes held out
  dynamics=ensemble   a model, several with commas, or all
  dynamics.KEY=VALUE  settings of the models, as in mbrl train; MODEL.KEY=VALUE of one of several
  seed=0  num_threads=1  run_dir=DIR

  --json              end with one line of JSON"""


def main(arguments: list[str]) -> int:
    """Fit models and print their table."""
    if {"-h", "--help"} & {*arguments}:
        print(_HELP)
        return 0
    as_json = "--json" in arguments
    files, options = _options([x for x in arguments if x != "--json"])

    from mbrl.memory import limited_memory
    from mbrl.recorded import as_numbers, fit
    from mbrl.report.log_accuracy import table_lines

    with limited_memory():
        result = fit(files, **options, show=lambda line: print(line, flush=True))
    print(*table_lines(result.accuracy), sep="\n")
    for note in result.notes:
        print(note)
    print(f"run folder {result.run}, page {result.run / 'report.html'}")
    if as_json:
        models = [as_numbers(each, result.names) for each in result.accuracy]
        print(json.dumps({"run": str(result.run), "models": models}))
    return 0


def _options(arguments: list[str]) -> tuple[list[Path], dict[str, Any]]:
    """Split files from settings.

    Raises:
        BadInput: if a key is unknown, or nothing is to be read.
    """
    from mbrl.config.library import nearest

    files: list[Path] = []
    options: dict[str, Any] = {"settings": []}
    known = (*_LISTS, *_TEXTS, *_NUMBERS)
    for argument in arguments:
        key, equals, text = argument.removeprefix("--").partition("=")
        if not equals or Path(argument).exists():
            if argument.startswith("-"):
                raise BadInput(f"{argument}: unknown option; mbrl fit --help says more")
            files.append(Path(argument))
        elif not text:
            raise BadInput(f"{argument}: the value after = is missing")
        elif key in _LISTS:
            options[key] = [name for name in text.split(",") if name]
        elif key in _TEXTS:
            options[key] = text
        elif key in _NUMBERS:
            options[key] = parse_value(text)
        elif "." in key:
            options["settings"].append(argument)
        else:
            near = nearest(key, known)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise BadInput(f"{key}: unknown key; {hint}")
    if not files:
        raise BadInput("DATA: a file or folder of recorded runs is missing; mbrl fit --help")
    return files, options
