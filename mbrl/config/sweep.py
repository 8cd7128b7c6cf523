"""Sweep files of W&B: each value is composed as `mbrl train` would do it, before anything runs.

W&B's client looks at little of the file before its server does, so its keys are checked here too.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbrl.config.compose import compose
from mbrl.config.library import CONFIGS, SWEEPS, Library, nearest, read_yaml
from mbrl.config.sizes import check_sizes
from mbrl.config.trust import NOTHING, Trust, check_trusted
from mbrl.errors import BadInput

# what W&B reads, by section: https://docs.wandb.ai/guides/sweeps/sweep-config-keys
_TOP = [
    "program", "method", "metric", "parameters", "early_terminate", "command", "name",
    "description", "project", "entity", "run_cap", "controller", "job", "image_uri",
    "scheduler", "preemptible",
]  # fmt: skip
_METRIC = ["name", "goal", "target", "impute", "impute_while_running"]
_EARLY = ["type", "min_iter", "max_iter", "s", "eta", "strict"]
_PARAMETER = [
    "value", "values", "probabilities", "distribution", "min", "max", "q", "mu", "sigma",
    "a", "b", "parameters", "default",
]  # fmt: skip
_COMMANDS = (["mbrl"], ["${interpreter}", "-m", "mbrl"], ["python", "-m", "mbrl"])
_MAX_VALUES = 500  # of all parameters
_WORDS = {
    "method": ["grid", "random", "bayes", "custom"],
    "metric.goal": ["maximize", "minimize"],
    "early_terminate.type": ["hyperbandit", "envelope"],
    "distribution": [
        "constant",
        "categorical",
        "categorical_w_probabilities",
        "int_uniform",
        "uniform",
        "q_uniform",
        "log_uniform",
        "log_uniform_values",
        "q_log_uniform",
        "q_log_uniform_values",
        "inv_log_uniform",
        "inv_log_uniform_values",
        "normal",
        "q_normal",
        "log_normal",
        "q_log_normal",
        "beta",
        "q_beta",
    ],  # fmt: skip
}


def find_sweep(name: str) -> Path:
    """Find a sweep file by path, or one of the package's by name.

    Raises:
        BadInput: if there is none.
    """
    for path in (Path(name), CONFIGS / SWEEPS / f"{name}.yaml"):
        if os.path.isfile(path):
            return path
    ours = sorted(file.stem for file in (CONFIGS / SWEEPS).glob("*.yaml"))
    near = nearest(name, ours)
    hint = f"did you mean {near[0]}?" if near else f"give a path or {' or '.join(ours)}"
    raise BadInput(f"{name}: no such sweep file; {hint}")


def check_sweep(file: Path, trust: Trust = NOTHING) -> list[str]:
    """Compose every value of a sweep file, each parameter by itself, the others at their first.

    Of a range both ends are tried, and a fraction between unless it is one of whole numbers; of
    a distribution without ends its middle. What is composed is checked like a stored config.

    Args:
        file: it may come from a stranger.
        trust: what the user agrees to.

    Returns:
        The dotted keys that the sweep varies.

    Raises:
        BadInput: naming the file and what `mbrl train` would refuse, or what needs trust.
    """
    sweep = read_yaml(file)
    try:
        _check_form(sweep)
        fixed, config_dir = _command(sweep, trust)
        parameters = sweep.get("parameters")
        if not isinstance(parameters, dict) or not parameters:
            raise BadInput("parameters: should hold KEY: {values: [...]} lines")
        values = dict(_parameters(parameters))
        _check_number(values, trust)
        library = Library(config_dir)
        first = {key: choices[0] for key, choices in values.items()}
        for key, choices in values.items():
            for value in choices:
                trial = [f"{k}={v}" for k, v in {**first, key: value}.items()]
                config = compose([*fixed, *trial], library=library).config
                if not config["logger"]["wandb"]:
                    raise BadInput(
                        "logger.wandb=false: W&B would not see the runs; put logger.wandb=true "
                        "in the command"
                    )
                check_trusted(config, trust._replace(config_dir=config_dir))
                if not trust.code:
                    check_sizes(config, config_dir)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return list(values)


def _check_number(values: dict[str, list[Any]], trust: Trust) -> None:
    """Check how many values there are to compose.

    Raises:
        BadInput: naming the key with the most.
    """
    number, key = sum(map(len, values.values())), max(values, key=lambda key: len(values[key]))
    if number > _MAX_VALUES and not trust.code:
        raise BadInput(
            f"parameters.{key}: {len(values[key])} values; all parameters together may have "
            f"{_MAX_VALUES}; give a range (min and max), or check it with --trust"
        )


def _check_form(sweep: dict[str, Any]) -> None:
    """Check the keys that W&B reads, and their words.

    Raises:
        BadInput: naming the key and the nearest one.
    """
    _check_keys("", sweep, _TOP)
    for section, keys in (("metric", _METRIC), ("early_terminate", _EARLY)):
        if section in sweep:
            _check_keys(f"{section}.", sweep[section], keys)
    for key in ("method", "metric.goal", "early_terminate.type"):
        section, _, name = key.rpartition(".")
        node = sweep.get(section, {}) if section else sweep
        if name in node:
            _check_word(key, node[name], _WORDS[key])
    if "method" not in sweep:
        raise BadInput(f"method is missing; choose from {', '.join(_WORDS['method'])}")
    early = sweep.get("early_terminate", {})
    for name in ("min_iter", "max_iter", "s", "eta"):
        if name in early and (isinstance(early[name], bool) or not isinstance(early[name], int)):
            raise BadInput(f"early_terminate.{name}={early[name]}: should be a whole number")
    if "early_terminate" in sweep and not early.keys() & {"min_iter", "max_iter"}:
        raise BadInput("early_terminate: give min_iter=N, or max_iter=N with s=N")


def _check_keys(prefix: str, node: Any, keys: list[str]) -> None:
    """Check that a section is a mapping of known keys."""
    if not isinstance(node, dict):
        raise BadInput(f"{prefix.rstrip('.')}={node}: should hold KEY: VALUE lines")
    for name in node:
        if name not in keys:
            near = nearest(str(name), keys)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
            raise BadInput(f"{prefix}{name}: unknown key; {hint}")


def _check_word(key: str, word: Any, words: list[str]) -> None:
    """Check that a value is one of the words."""
    if word not in words:
        near = nearest(str(word), words)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(words)}"
        raise BadInput(f"{key}={word}: unknown; {hint}")


def _command(sweep: dict[str, Any], trust: Trust) -> tuple[list[str], Path | None]:
    """Return the settings of the command, and the folder of the user's own choices.

    Raises:
        BadInput: if it trains nothing, hands no parameters on, or runs or reads what needs trust.
    """
    words = sweep.get("command") or []
    words = [str(word) for word in words] if isinstance(words, list) else []
    if "train" not in words or not any(word.startswith("${args") for word in words):
        example = '["${env}", "${program}", train, "${args}"]'
        raise BadInput(f"command: should be that of a run, for example {example}")
    begin = [
        str(sweep.get("program")) if word == "${program}" else word
        for word in words[: words.index("train")]
        if word != "${env}"
    ]
    if begin not in _COMMANDS and not trust.code:
        raise BadInput(
            f"command: would run {' '.join(begin)!r:.80}, which is not `mbrl`; --trust allows it, "
            "if you trust who made this file"
        )
    words = words[words.index("train") + 1 :]
    settings, folder = [], None
    rest = iter(word for word in words if not word.startswith("${args"))
    for word in rest:
        name, equals, text = word.partition("=")
        if name == "--config-dir":
            folder = Path(text if equals else next(rest, ""))
        else:  # ${envvar:NAME} is put in by W&B
            settings.append(re.sub(r"\$\{envvar:(\w+)\}", r"\1", word))
    same = folder is None or (trust.config_dir and folder.resolve() == trust.config_dir.resolve())
    if not same and not trust.code:
        raise BadInput(
            f"command: --config-dir {folder} is read, and its code run, with --trust or the same "
            "--config-dir given to `mbrl sweep`"
        )
    return settings, folder


def _parameters(parameters: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield dotted keys with the values to try; `parameters` within a parameter nest."""
    for name, entry in parameters.items():
        key = f"{prefix}{name}"
        if not isinstance(entry, dict):
            raise BadInput(f"parameters.{key}: should be {{value: ...}} or {{values: [...]}}")
        _check_keys(f"parameters.{key}.", entry, _PARAMETER)
        if "distribution" in entry:
            _check_word(
                f"parameters.{key}.distribution", entry["distribution"], _WORDS["distribution"]
            )
        if isinstance(entry.get("parameters"), dict):
            yield from _parameters(entry["parameters"], f"{key}.")
        else:
            yield key, _values(key, entry)


def _remedy(end: Any) -> str:
    """Return how YAML wants a number that it has read as text: with a point and a sign."""
    try:
        number = float(end)
    except (TypeError, ValueError):
        return ""
    mantissa, _, power = f"{number:e}".partition("e")
    mantissa = mantissa.rstrip("0")
    mantissa += "0" * mantissa.endswith(".")
    return f"; YAML reads {end} as text, write {mantissa}e{power[0]}{int(power[1:])}"


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
            raise BadInput(f"parameters.{key}.{name}={end}: should be a number{_remedy(end)}")
    if kind.endswith(("log_uniform", "log_normal")):  # of the exponent
        ends = [math.exp(-end if kind.startswith("inv") else end) for end in ends]
    elif all(type(end) is int for end in ends) and kind in ("", "int_uniform"):
        return ends
    numbers = [float(end) for end in ends]
    if len(numbers) == 2 and not kind.startswith("q_"):
        numbers.append(numbers[0] + (numbers[1] - numbers[0]) / math.pi)
    return numbers
