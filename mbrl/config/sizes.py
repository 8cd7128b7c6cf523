"""How much work a stored config may ask for: it may come from a stranger.

A whole number is compared with the largest that this package itself gives a parameter of that name,
in its YAML files or as a default. It may be 100 times that, and the factors of all numbers together
may make 1,000. So a stored run takes about 1,000 times as long as one of the package's own at most.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mbrl.config.defaults import default_of
from mbrl.config.library import CONFIGS
from mbrl.config.signatures import read_signature
from mbrl.errors import BadInput

_EACH, _TOGETHER = 100, 1000  # times this package's own numbers
_SMALL = 10  # what is not larger is no work
_LARGE = {"num_envs": 100, "max_episode_steps": 1000}  # usual, and in no YAML file
_NO_WORK = re.compile(  # a larger one makes no more of it, or the user sees how far it is
    "total_steps|buffer_size|capacity|num_threads|chunk|learning_starts|warmup_hold|action_hold"
    "|.*_(every|interval)"
)
_ENTRY = re.compile(r"(\w+): *(\[[^\]]*\]|[0-9][0-9_]*)")
_REMEDY = "--trust (in Python trust=True) allows it"

Usual = dict[str, list[int]]  # name -> largest number, of a list one for each place


class _Number(NamedTuple):
    """Whole number in a config."""

    key: str  # dotted
    name: str  # last part of the key, without a place in a list
    value: int
    usual: int  # the largest that this package gives it


def check_sizes(config: dict[str, Any], own: Path | None = None) -> None:
    """Check that a stored config asks for no more work than a run of this package may.

    Args:
        config: as stored, its parts checked.
        own: a folder of the user's own choices, whose numbers count like this package's.

    Raises:
        BadInput: naming the key, or those that are too much together, and what would be right.
    """
    usual = _merge(_of_folder(CONFIGS), {} if own is None else _of_folder(own))
    factors: dict[str, float] = {}
    parts = {k: v for k, v in config.items() if k not in ("choices", "logger", "seed")}
    for key, name, value, most in _numbers(parts, "", "", usual):
        if value > _EACH * most:
            raise BadInput(
                f"{key}={value}: a stored config may ask for at most {_EACH * most}, {_EACH} times "
                f"what this package's own do; {_REMEDY}"
            )
        if value > most and not _NO_WORK.fullmatch(name):
            factors[f"{key}={value}"] = value / most
    together = math.prod(factors.values())
    if together > _TOGETHER:
        largest = sorted(factors, key=lambda entry: -factors[entry])[:5]
        raise BadInput(
            f"{', '.join(largest)}: together {together:.3g} times the work of this package's own "
            f"configs; a stored one may ask for at most {_TOGETHER} times; {_REMEDY}"
        )


def _numbers(node: Any, key: str, name: str, usual: Usual) -> Iterator[_Number]:
    """Yield the whole numbers of a node, and the lengths of its lists."""
    if isinstance(node, dict):
        target = node.get("_target_")
        known = _merge(usual, _of_class(target)) if isinstance(target, str) else usual
        for child, value in node.items():
            yield from _numbers(value, f"{key}.{child}".lstrip("."), str(child), known)
    elif isinstance(node, list):
        places = usual.get(name, [])
        yield _Number(f"the length of {key}", name, len(node), max(_SMALL, len(places)))
        for index, value in enumerate(node):
            each = places[index : index + 1] if len(places) == len(node) else places
            yield from _numbers(value, f"{key}.{index}", name, {name: each})
    elif (number := _whole(node)) > _SMALL:
        yield _Number(key, name, number, max(_SMALL, _LARGE.get(name, 0), *usual.get(name, [0])))


def _whole(value: Any) -> int:
    """Return a whole number, 0 in place of anything else."""
    whole = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if whole else 0


def _merge(one: Usual, other: Usual) -> Usual:
    """Return the larger numbers of two, place by place."""
    merged = {**one}
    for name, places in other.items():
        mine = one.get(name, [])
        length = max(len(mine), len(places))
        padded = [[*x, *[0] * (length - len(x))] for x in (mine, places)]
        merged[name] = [max(pair) for pair in zip(*padded, strict=True)]
    return merged


@functools.cache
def _of_folder(folder: Path) -> Usual:
    """Return the numbers in the YAML files of a folder of choices; text is faster than YAML."""
    usual: Usual = {}
    for file in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml")):
        for name, text in _ENTRY.findall(file.read_text("utf-8")):
            numbers = [int(number) for number in re.findall(r"[0-9][0-9_]*", text)]
            usual = _merge(usual, {name: numbers})
    return usual


@functools.cache
def _of_class(target: str) -> Usual:
    """Return the whole numbers among the defaults of a class, nothing of an unknown one."""
    usual: Usual = {}
    with contextlib.suppress(LookupError):
        for name, parameter in read_signature(target).parameters.items():
            with contextlib.suppress(LookupError):
                default = None if parameter.default is None else default_of(parameter)
                row = default if isinstance(default, list | tuple) else [default]
                usual[name] = [_whole(value) for value in row]
    return usual
