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
_METRICS = ("eval/mean_reward", "eval/std_reward", "eval/mean_ep_length", "rollout/ep_rew_mean")
_METRICS += ("rollout/ep_len_mean", "time/fps", "time/cpu_seconds")  # those of every last step
_METRICS += ("time/wall_seconds",)
_SECTIONS = (
    *("program", "command", "method", "metric", "parameters", "project", "entity", "name"),
    *("description", "run_cap", "early_terminate", "controller", "scheduler", "kind", "apiVersion"),
)
_METHODS = ("grid", "random", "bayes", "custom")
_GRID = ("constant", "categorical", "int_uniform", "q_uniform")
_ENDS = {"min", "max"}
_DISTRIBUTIONS: dict[
    str, tuple[set[str], set[str]]
] = {  # name -> keys that it needs, that it may have
    "constant": ({"value"}, set()),
    "categorical": ({"values"}, set()),
    "categorical_w_probabilities": ({"values", "probabilities"}, set()),
    **{f"{name}uniform": (_ENDS, set()) for name in ("int_", "", "log_", "inv_log_")},
    **{f"{name}log_uniform_values": (_ENDS, set()) for name in ("", "inv_")},
    **{f"q_{name}": (_ENDS, {"q"}) for name in ("uniform", "log_uniform", "log_uniform_values")},
    **{name: (set(), {"mu", "sigma"}) for name in ("normal", "log_normal")},
    **{f"q_{name}": (set(), {"mu", "sigma", "q"}) for name in ("normal", "log_normal")},
    **{"beta": (set(), {"a", "b"}), "q_beta": (set(), {"a", "b", "q"})},
}


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
        _check_sections(sweep)
        fixed, config_dir = _command(sweep)
        tried = dict(_parameters(sweep["parameters"], sweep["method"]))
        first = {key: values[0] for key, values in tried.items()}
        for key, values in tried.items():
            for value in values:
                trial = [f"{k}={v}" for k, v in {**first, key: value}.items()]
                if not compose([*fixed, *trial], config_dir).config["logger"]["wandb"]:
                    raise BadInput(
                        "logger.wandb=false: W&B would not see the runs; put logger.wandb=true "
                        "in the command"
                    )
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return list(tried)


def _check_sections(sweep: dict[str, Any]) -> None:
    """Check what stands at the top of a sweep file."""
    for name in sweep:
        if name not in _SECTIONS:
            near = nearest(str(name), _SECTIONS)
            raise BadInput(
                f"{name}: no such section; " + (f"did you mean {near[0]}?" if near else "")
            )
    method, metric = sweep.get("method"), sweep.get("metric")
    if method not in _METHODS:
        raise BadInput(f"method={method}: choose one: {' or '.join(_METHODS)}")
    if metric is None and method == "bayes":
        raise BadInput("metric: is missing; bayes needs {name: eval/mean_reward, goal: maximize}")
    if metric is not None:
        name, goal = (metric.get(k) if isinstance(metric, dict) else None for k in ("name", "goal"))
        if name not in _METRICS:
            near = nearest(str(name), _METRICS) or _METRICS
            raise BadInput(f"metric.name={name}: not logged at the last step; take {near[0]}")
        if goal not in ("maximize", "minimize"):
            raise BadInput(f"metric.goal={goal}: choose one: maximize or minimize")
    parameters = sweep.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise BadInput("parameters: should hold KEY: {values: [...]} lines")


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


def _parameters(
    parameters: dict[str, Any], method: str, prefix: str = ""
) -> Iterator[tuple[str, list[Any]]]:
    """List dotted keys with the values to try; `parameters` within a parameter nest."""
    for name, entry in parameters.items():
        key = f"{prefix}{name}"
        if not isinstance(entry, dict):
            raise BadInput(f"parameters.{key}: should be {{value: ...}} or {{values: [...]}}")
        if isinstance(entry.get("parameters"), dict):
            yield from _parameters(entry["parameters"], method, f"{key}.")
            continue
        kind = _distribution(key, entry)
        if method == "grid" and kind not in _GRID:
            raise BadInput(f"parameters.{key}: a grid has no {kind}; write values: [...]")
        yield key, _values(key, kind, entry)


def _distribution(key: str, entry: dict[str, Any]) -> str:
    """Name a parameter's distribution; W&B guesses it from the keys where it is not said."""
    given = set(entry) - {"distribution"}
    whole = all(type(entry.get(end)) is int for end in _ENDS)
    usual = {"value": "constant", "values": "categorical", "min": "uniform"}
    guess = next((kind for hint, kind in usual.items() if hint in given), None)
    guess = "int_uniform" if guess == "uniform" and whole else guess
    guess = "categorical_w_probabilities" if "probabilities" in given else guess
    kind = entry.get("distribution", guess)
    if kind is None:
        raise BadInput(f"parameters.{key}: should have value, values, min and max, or distribution")
    if kind not in _DISTRIBUTIONS:
        near = nearest(str(kind), _DISTRIBUTIONS)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(_DISTRIBUTIONS)}"
        raise BadInput(f"parameters.{key}: distribution={kind}: there is none; {hint}")
    needed, allowed = _DISTRIBUTIONS[kind]
    if not needed <= given or not given <= needed | allowed:
        takes = ", ".join(sorted(needed | allowed))
        raise BadInput(f"parameters.{key}: {kind} takes {takes}; got {', '.join(sorted(given))}")
    return kind


def _values(key: str, kind: str, entry: dict[str, Any]) -> list[Any]:
    """Choose the values of a parameter to try."""
    if kind == "constant":
        return [entry["value"]]
    if kind.startswith("categorical"):
        if not isinstance(entry["values"], list) or not entry["values"]:
            raise BadInput(f"parameters.{key}: values should be a list of one or more")
        return entry["values"]
    numbers, what = (int, "whole number") if kind == "int_uniform" else (int | float, "number")
    for name in set(entry) - {"distribution"}:
        if isinstance(entry[name], bool) or not isinstance(entry[name], numbers):
            raise BadInput(f"parameters.{key}: {name}={entry[name]} should be a {what}")
    if "min" not in entry:
        middle = 0.5 if kind.endswith("beta") else float(entry.get("mu", 0))
        return [math.exp(middle) if "log" in kind else middle]
    low, high = entry["min"], entry["max"]
    if low > high:
        raise BadInput(f"parameters.{key}: min={low} is above max={high}")
    if kind.endswith("log_uniform"):  # takes exponents
        low, high = (math.exp(-end if kind.startswith("inv") else end) for end in (low, high))
    elif "log" in kind and low <= 0:
        raise BadInput(f"parameters.{key}: min={low}: {kind} takes values above 0")
    if kind == "int_uniform":
        return [low, high]
    ends = [float(low), float(high)]
    return (
        ends if kind.startswith("q_") else [*ends, low + (high - low) / math.pi]
    )  # a fraction too
