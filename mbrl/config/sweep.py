"""W&B's sweep files: what they would give `mbrl train`, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbrl.config.compose import compose
from mbrl.config.library import CONFIGS, SWEEPS, nearest, read_yaml
from mbrl.errors import BadInput

_MACROS = {"${args}", "${args_no_hyphens}", "${args_append_hydra}", "${args_override_hydra}"}
_OTHERS = {"${env}", "${interpreter}", "${program}"}
_METRICS = ("eval/", "rollout/", "train/", "model/", "planner/", "time/")


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

    Of a range its ends and a fraction between are tried (of whole numbers the ends), of a
    distribution without ends its middle.

    Returns:
        The dotted keys that the sweep varies.

    Raises:
        BadInput: naming the file and what is wrong with it.
    """
    sweep = read_yaml(file)
    try:
        fixed, config_dir = _command(sweep)
        metric = (sweep.get("metric") or {}).get("name") or ""
        if not str(metric).startswith(_METRICS):
            raise BadInput(f"metric.name={metric}: no such metric; take eval/mean_reward")
        parameters = sweep.get("parameters")
        if not isinstance(parameters, dict) or not parameters:
            raise BadInput("parameters: should hold KEY: {values: [...]} lines")
        tried = dict(_parameters(parameters))
        first = {key: values[0] for key, values in tried.items()}
        for key, values in tried.items():
            for value in values:
                trial = {**first, key: value}
                compose([*fixed, *(f"{k}={v}" for k, v in trial.items())], config_dir)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return list(tried)


def _command(sweep: dict[str, Any]) -> tuple[list[str], Path | None]:
    """Give what the command says itself: settings, and the folder of the user's own choices."""
    words = [str(word) for word in sweep.get("command") or []]
    if "train" not in words:
        example = '["${env}", "${program}", train, "${args}"]'
        raise BadInput(f"command: should be that of a run, for example {example}")
    before, after = words[: words.index("train")], words[words.index("train") + 1 :]
    if "${program}" in before and not sweep.get("program"):
        raise BadInput("program: is missing, and the command names it; write program: mbrl")
    macros = [word for word in after if word.startswith("${") and word.endswith("}")]
    if len(macros) != 1 or macros[0] not in _MACROS:
        raise BadInput(f"command: after train there should be one of {', '.join(sorted(_MACROS))}")
    unknown = [word for word in before if word.startswith("${") and word not in _OTHERS]
    if any(not word.startswith("${envvar:") for word in unknown):
        raise BadInput(f"command: {unknown[0]} is no macro of W&B's; there are {sorted(_OTHERS)}")
    settings, folder = [word for word in after if word not in macros], None
    for index, word in enumerate(settings):
        name, equals, text = word.partition("=")
        if name == "--config-dir":
            end = index + (1 if equals else 2)
            folder = Path(text if equals else "".join(settings[index + 1 : end]))
            settings = settings[:index] + settings[end:]
            break
    return settings, folder


def _parameters(parameters: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """List dotted keys with the values to try; `parameters` within a parameter nest."""
    for name, entry in parameters.items():
        key = f"{prefix}{name}"
        if not isinstance(entry, dict):
            raise BadInput(f"parameters.{key}: should be {{value: ...}} or {{values: [...]}}")
        if isinstance(entry.get("parameters"), dict):
            yield from _parameters(entry["parameters"], f"{key}.")
        else:
            yield key, _values(key, entry)


def _values(key: str, entry: dict[str, Any]) -> list[Any]:
    """Choose the values of a parameter to try."""
    if "value" in entry:
        return [entry["value"]]
    if isinstance(entry.get("values"), list) and entry["values"]:
        return entry["values"]
    kind = str(entry.get("distribution", ""))
    try:
        if "mu" in entry and "min" not in entry:
            middle = float(entry["mu"])
            return [math.exp(middle) if "log" in kind else middle]
        low, high = entry["min"], entry["max"]
        if "log" in kind and not kind.endswith("_values"):  # W&B's log_uniform takes exponents
            low, high = (math.exp(-end if "inv" in kind else end) for end in (low, high))
        whole = isinstance(low, int) and isinstance(high, int) and kind in ("", "int_uniform")
        if whole or kind.startswith("q_"):
            return [low, high]
        return [float(low), low + (high - low) / math.pi, float(high)]  # a fraction between too
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadInput(f"parameters.{key}: should have value, values, min and max, or mu") from None
