"""Sweep files of W&B: each value is composed as `mbrl train` would do it, before anything runs.

The form of the file itself is checked by W&B's client.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbrl.config.compose import compose
from mbrl.config.library import CONFIGS, SWEEPS, nearest, read_yaml
from mbrl.errors import BadInput


def find_sweep(name: str) -> Path:
    """Find a sweep file by path, or one of the package's by name.

    Raises:
        BadInput: if there is none.
    """
    for path in (Path(name), CONFIGS / SWEEPS / f"{name}.yaml"):
        if path.is_file():
            return path
    ours = sorted(file.stem for file in (CONFIGS / SWEEPS).glob("*.yaml"))
    near = nearest(name, ours)
    hint = f"did you mean {near[0]}?" if near else f"give a path or {' or '.join(ours)}"
    raise BadInput(f"{name}: no such sweep file; {hint}")


def check_sweep(file: Path) -> list[str]:
    """Compose every value of a sweep file, each parameter by itself, the others at their first.

    Of a range both ends are tried, and a fraction between unless it is one of whole numbers; of
    a distribution without ends its middle.

    Returns:
        The dotted keys that the sweep varies.

    Raises:
        BadInput: naming the file and what `mbrl train` would refuse.
    """
    sweep = read_yaml(file)
    try:
        fixed, config_dir = _command(sweep)
        parameters = sweep.get("parameters")
        if not isinstance(parameters, dict) or not parameters:
            raise BadInput("parameters: should hold KEY: {values: [...]} lines")
        values = dict(_parameters(parameters))
        first = {key: choices[0] for key, choices in values.items()}
        for key, choices in values.items():
            for value in choices:
                trial = [f"{k}={v}" for k, v in {**first, key: value}.items()]
                if not compose([*fixed, *trial], config_dir).config["logger"]["wandb"]:
                    raise BadInput(
                        "logger.wandb=false: W&B would not see the runs; put logger.wandb=true "
                        "in the command"
                    )
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return list(values)


def _command(sweep: dict[str, Any]) -> tuple[list[str], Path | None]:
    """Return the settings of the command, and the folder of the user's own choices.

    Raises:
        BadInput: if it trains nothing, or hands no parameters on.
    """
    words = [str(word) for word in sweep.get("command") or []]
    if "train" not in words or not any(word.startswith("${args") for word in words):
        example = '["${env}", "${program}", train, "${args}"]'
        raise BadInput(f"command: should be that of a run, for example {example}")
    words = words[words.index("train") + 1 :]
    settings, folder = [], None
    rest = iter(word for word in words if not word.startswith("${args"))
    for word in rest:
        name, equals, text = word.partition("=")
        if name == "--config-dir":
            folder = Path(text if equals else next(rest, ""))
        else:  # ${envvar:NAME} is put in by W&B
            settings.append(re.sub(r"\$\{envvar:(\w+)\}", r"\1", word))
    return settings, folder


def _parameters(parameters: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield dotted keys with the values to try; `parameters` within a parameter nest."""
    for name, entry in parameters.items():
        key = f"{prefix}{name}"
        if not isinstance(entry, dict):
            raise BadInput(f"parameters.{key}: should be {{value: ...}} or {{values: [...]}}")
        if isinstance(entry.get("parameters"), dict):
            yield from _parameters(entry["parameters"], f"{key}.")
        else:
            yield key, _values(key, entry)


def _values(key: str, entry: dict[str, Any]) -> list[Any]:
    """Return the values of a parameter to try.

    Raises:
        BadInput: if there are none, or an end is not a number.
    """
    if "value" in entry:
        return [entry["value"]]
    if "values" in entry:
        if not isinstance(entry["values"], list) or not entry["values"]:
            raise BadInput(f"parameters.{key}: values should be a list of one or more")
        return entry["values"]
    kind = str(entry.get("distribution", ""))
    names = [name for name in ("min", "max") if name in entry] or ["mu"]
    ends = [entry.get(name, 0.5 if "beta" in kind else 0) for name in names]
    for name, end in zip(names, ends, strict=True):
        if isinstance(end, bool) or not isinstance(end, int | float):
            advice = f"{name}={end} should be a number, with a point in it: 1.0e-5, not 1e-5"
            raise BadInput(f"parameters.{key}: {advice}")
    if kind.endswith(("log_uniform", "log_normal")):  # of the exponent
        ends = [math.exp(-end if kind.startswith("inv") else end) for end in ends]
    elif all(type(end) is int for end in ends) and kind in ("", "int_uniform"):
        return ends
    numbers = [float(end) for end in ends]
    if len(numbers) == 2 and not kind.startswith("q_"):
        numbers.append(numbers[0] + (numbers[1] - numbers[0]) / math.pi)
    return numbers
