"""Help of `mbrl train`: groups, keys, and each parameter of each part, without importing any."""

from __future__ import annotations

import ast
import contextlib
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.check import as_typed, plain_type, signature_of
from mbrl.config.compose import assemble
from mbrl.config.defaults import default_of
from mbrl.config.library import CONFIGS, Library
from mbrl.config.signatures import Parameter
from mbrl.values import expected

_WIDTH = 80
_USAGE = """\
usage: mbrl train [KEY=VALUE ...] [--config-dir DIR]
       mbrl train --resume RUN [total_steps=N]
       mbrl train [KEY=VALUE ...] --help    every parameter of these choices

--config-dir DIR   your own choices, DIR/GROUP/NAME.yaml
--resume RUN       go on from a run's newest checkpoint
"""
_SOURCES = """\
Behind each value stands where it comes from: typed; the preset experiment=NAME;
the file of the choice GROUP=NAME; or the default of the class."""


class _Layers(NamedTuple):
    """Configs from which the source of a value is read."""

    config: dict[str, Any]
    bare: dict[str, Any]  # without the preset
    typed: dict[str, str]
    choices: dict[str, str]


def describe(arguments: Sequence[str], config_dir: Path | None = None) -> str:
    """Return the help: all parameters of what is chosen, or the groups if nothing is.

    Args:
        arguments: KEY=VALUE as typed.
        config_dir: a folder of the user's own choices.

    Raises:
        BadInput: if a choice or a key is unknown.
    """
    library = Library(config_dir)
    if not arguments:
        return _describe_groups(library)
    config, typed, notes = assemble(arguments, library)
    layers = _Layers(
        config, assemble(arguments, library, preset=False).config, typed, config["choices"]
    )
    sections = ["\n".join(map(_wrap, [_SOURCES.replace("\n", " "), *notes]))]
    for group in library.defaults:
        if "_target_" in (config.get(group) or {}):
            sections += _describe_part(config[group], group, layers, library)
    sections.append("\n".join(["keys of the run", *_describe_keys(library, layers)]))
    return "\n\n".join(sections)


def _describe_groups(library: Library) -> str:
    """Return the usage, the groups with their choices, and the keys of a run."""
    lines = [_USAGE, "groups, with their defaults:"]
    for group, name in library.defaults.items():
        first = f"  {f'{group}={name}':20} "
        lines.append(_wrap(", ".join(library.choices(group)), first, " " * 23))
    none = _Layers(library.plain, library.plain, {}, {})
    lines += ["", "keys, with their defaults:", *_describe_keys(library, none)]
    return "\n".join(lines)


def _describe_keys(library: Library, layers: _Layers) -> Iterator[str]:
    """Yield the keys outside the parts; their comments in train.yaml describe them."""
    text = (CONFIGS / "train.yaml").read_text(encoding="utf-8")
    comments = dict(re.findall(r"^(\w+): .*?  # (.*)$", text, re.M))
    for name, default in library.plain.items():
        if name.startswith("_"):
            continue
        leaves = default if isinstance(default, dict) else {name: default}
        for leaf in leaves:
            key = f"{name}.{leaf}" if isinstance(default, dict) else name
            node = layers.config[name] if isinstance(default, dict) else layers.config
            source = _source(key, layers, "train.yaml") if layers.choices else ""
            kind = expected(
                plain_type(default if isinstance(default, dict) else library.plain, leaf)
            )
            yield _describe_value(key, node[leaf], source, kind, comments.get(name, ""))


def _describe_part(node: dict[str, Any], key: str, layers: _Layers, library: Library) -> list[str]:
    """Return a section for a part, and one for each part within it."""
    signature = signature_of(node["_target_"], key)
    group, _, inner = key.partition(".")
    choice = f"{group}={layers.choices.get(group)}"
    title = f"{key}: {node['_target_']}" if inner else f"{choice}: {node['_target_']}"
    lines, within = [title, _wrap(signature.summary, "    ", "    ")], []
    names = dict.fromkeys([*signature.parameters, *(n for n in node if not n.startswith("_"))])
    for name in names:
        parameter = signature.parameters.get(name) or Parameter(Any, None, "")
        injected = name in (*FROM_RUN, *FROM_ENV, *library.defaults)
        if name not in node and (injected or parameter.default is None):
            continue
        value, dotted = node.get(name, parameter.default), f"{key}.{name}"
        if isinstance(value, ast.expr):
            with contextlib.suppress(LookupError):  # no constant: shown as it is written
                value = default_of(parameter)
        if isinstance(value, dict) and "_target_" in value:
            within += _describe_part(value, dotted, layers, library)
            value = value["_target_"]
        source = _source(dotted, layers, choice) if name in node else "default"
        kind = as_typed(expected(parameter.annotation))
        lines.append(_describe_value(dotted, value, source, kind, parameter.description))
    return ["\n".join(lines), *within]


def _describe_value(key: str, value: Any, source: str, kind: str, description: str) -> str:
    """Return a line KEY=VALUE (SOURCE), and below it what the value may be and what it is for."""
    line, source = f"  {key}={_written(value)}", f"({source})" if source else ""
    words = [f"{kind}{'; ' * bool(description)}{as_typed(description)}"]
    if len(line) + 2 + len(source) <= _WIDTH:
        line = f"{line}  {source}".rstrip()
    else:
        words.insert(0, source)
    return "\n".join([line, *(_wrap(text, "      ", "      ") for text in words)])


def _source(key: str, layers: _Layers, choice: str) -> str:
    """Return where the value of a key that stands in the config comes from."""
    if any(key == typed or key.startswith(f"{typed}.") for typed in layers.typed):
        return "typed"
    if _at(layers.config, key) != _at(layers.bare, key):
        return f"experiment={layers.choices.get('experiment')}"
    return choice


def _at(config: Any, key: str) -> Any:
    """Return the value of a dotted key, None if there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _written(value: Any) -> str:
    """Return a value, from code or from YAML, as it would be typed."""
    text = ast.unparse(value) if isinstance(value, ast.expr) else str(value)
    return as_typed(text.strip("'"))


def _wrap(text: str, first: str = "", other: str = "") -> str:
    """Return text in lines of 80 columns; no word is cut."""
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )
