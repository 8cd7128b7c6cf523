"""The help of `mbrl train`: groups, keys and what a choice takes, without importing any part."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbrl.config.arguments import parse_arguments
from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.check import as_typed, check_choice, limited, signature_of
from mbrl.config.library import CONFIGS, Library
from mbrl.values import expected

_USAGE = """\
usage: mbrl train [KEY=VALUE ...] [--config-dir DIR]
       mbrl train --resume RUN [total_steps=N]
       mbrl train GROUP=CHOICE --help    the parameters of a choice

--config-dir DIR   your own choices, DIR/GROUP/NAME.yaml
--resume RUN       go on from a run's newest checkpoint
"""


def describe(arguments: Sequence[str], config_dir: Path | None = None) -> str:
    """Write the help: of the choices among the arguments, or of everything.

    Raises:
        BadInput: if a choice is unknown.
    """
    library = Library(config_dir)
    chosen = [a for a in parse_arguments(arguments) if a.key in library.defaults]
    for group, name in chosen:
        check_choice(group, name, library)
    if chosen:
        return "\n\n".join(_choice(group, name, library) for group, name in chosen)
    groups = [
        f"  {f'{group}={name}':20} {', '.join(library.choices(group))}"
        for group, name in library.defaults.items()
    ]
    text = (CONFIGS / "train.yaml").read_text(encoding="utf-8")
    first = next(name for name in library.plain if not name.startswith("_"))
    plain = text[text.index(f"\n{first}:") + 1 :].rstrip().split("\n")
    keys = [f"  {line}" for line in plain]
    return "\n".join([_USAGE, "groups, with their defaults:", *groups, "", "keys:", *keys])


def _choice(group: str, name: str, library: Library) -> str:
    """Describe one choice: the parameters that can be set, YAML values before code defaults."""
    node = library.read(group, name)
    lines = [f"{group}={name}"]
    if "_target_" in node:
        signature = signature_of(node["_target_"], group)
        lines[0] += f": {node['_target_']}. {signature.summary}"
        for key, parameter in signature.parameters.items():
            injected = key in (*FROM_RUN, *FROM_ENV, *library.defaults)
            if key in node or (parameter.default is not None and not injected):
                value = _default(node.get(key, parameter.default))
                annotation = limited(parameter.annotation, node, key, f"{group}.{key}")
                kind = as_typed(expected(annotation))
                lines.append(f"  {group}.{key}={value}  ({kind}) {parameter.description}")
    return "\n".join(lines)


def _default(value: Any) -> str:
    """Write a default, from code or from YAML, as it would be typed."""
    text = ast.unparse(value) if isinstance(value, ast.expr) else str(value)
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(text, text.strip("'"))
