"""Check a composed config without importing torch; each error is one line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from mbrl import moved
from mbrl.config.annotations import Part, Unknown, base, fit, parts_of, resolve
from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.library import SWEEPS, Library, gather, nearest
from mbrl.config.outside import check_gymnasium_id
from mbrl.config.renames import rename
from mbrl.config.signatures import Parameter, Signature, classes_of, read_signature
from mbrl.errors import BadInput
from mbrl.training.run_folder import is_taken
from mbrl.values import check_value, expected

Node = dict[str, Any]
_CONSTANTS = {"None": "null", "True": "true", "False": "false"}


def check(config: Node, library: Library, typed: dict[str, str]) -> None:
    """Check a composed config; convert its values to their types in place.

    Args:
        config: composed and resolved, labels (`_requires_` ...) and `choices` included.
        library: the choices there are.
        typed: dotted key -> text that the user typed.

    Raises:
        BadInput: naming the key and what would be right.
    """
    for key in config:
        if key not in library.plain and key not in library.defaults and key != "choices":
            raise BadInput(f"{key}: unknown key{_suggest(key, library.plain)}")
    _check_plain(config, library.plain, "", typed)
    for group in library.defaults:
        node = config.get(group)
        if isinstance(node, dict) and "_target_" not in node and any(k[0] != "_" for k in node):
            advice = "needs a _target_"
            if group == "experiment":
                advice = "should begin with the line `# @package _global_`"
            raise BadInput(f"{group}={config['choices'].get(group)}: its YAML {advice}")
        for key, part in _nodes(node, group):
            _check_node(part, key, typed)
    _check_places(config, library)
    _check_needs(config, library)
    _check_run(config, typed)


def check_key(key: str, config: Node, library: Library) -> None:
    """Check that a part takes a typed key.

    Raises:
        BadInput: with the nearest valid names.
    """
    group = key.partition(".")[0]
    if group == SWEEPS:
        raise BadInput(f"{key}: a sweep starts runs and is no part of one; see `mbrl sweep --help`")
    if group in library.defaults and "." in key and "_target_" not in (config.get(group) or {}):
        choices = " or ".join(library.parts(group)) or "none there yet"
        raise BadInput(f"{key}: no {group} is chosen; choose one: {choices}")
    keys, opened = _known_keys(config, library)
    if key in keys or any(key.startswith(f"{prefix}.") for prefix in opened):
        return
    options = sorted(keys) + [group for group in library.defaults if "." not in key]
    raise BadInput(f"{key}: unknown key{_suggest(key, options)}")


def check_choice(group: str, name: str, library: Library) -> None:
    """Check that a choice has a YAML that can be read.

    Raises:
        BadInput: with the nearest choice, or all of them; or naming the file.
    """
    choices = library.choices(group)
    if name in choices:
        library.read(group, name)
        return
    near = nearest(name, choices)
    hint = f"did you mean {group}={near[0]}?" if near else f"choose from {', '.join(choices)}"
    raise BadInput(f"{group}={name}: unknown choice; {hint}")


def check_plain_value(key: str, text: str, value: Any, defaults: Node) -> Any:
    """Return the value of a key outside the parts in its type.

    Raises:
        BadInput: if type or range is wrong.
    """
    return _check_value(key, value, plain_type(defaults, key), {}, text)


def check_saved(config: Node, file: Path) -> None:
    """Check a run's config, which may have been damaged or changed by hand; rename what is old.

    Args:
        config: what the file holds; changed in place.
        file: its name, for the message.

    Raises:
        BadInput: naming the file, the key and what would be right.
    """
    library = Library()
    rename(config)
    config.setdefault("num_seeds", 1)  # a config of an older version has none
    try:
        _check_plain(config, library.plain, "", {})
        _check_device(config["device"])
        choices = config.get("choices")
        if not isinstance(choices, dict) or not {"env", "agent"} <= choices.keys():
            raise BadInput(f"choices={_show(choices)}: should name the env and the agent")
        for group, name in choices.items():
            if not isinstance(name, str):
                raise BadInput(f"choices.{group}={_show(name)}: should be text")
            known = group in library.defaults and name in library.choices(group)
            own = library.read(group, name) if known else {}  # another name may be a path
            labels = {k: v for k, v in own.items() if k != "_target_" and k.startswith("_")}
            node = config.get(group) or {}
            if not isinstance(node, dict):
                raise BadInput(f"{group}={_show(node)}: should hold KEY: VALUE lines")
            if group in ("env", "agent") and "_target_" not in node:
                raise BadInput(f"{group}._target_ is missing")
            _check_no_labels(node, group)
            for key, part in _nodes({**labels, **node}, group):
                _check_node(part, key, {})
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def _check_no_labels(node: Any, key: str) -> None:
    """Check that a stored part has no key like `_args_`: nothing would read it.

    Raises:
        BadInput: naming it.
    """
    for child, value in node.items() if isinstance(node, dict) else ():
        if child.startswith("_") and child.endswith("_") and child != "_target_":
            raise BadInput(f"{key}.{child}: is no part of a stored config")
        _check_no_labels(value, f"{key}.{child}")


def signature_of(target: Any, key: str) -> Signature:
    """Read a `_target_`.

    Raises:
        BadInput: if it names nothing.
    """
    try:
        return read_signature(str(target))
    except LookupError as error:
        raise BadInput(f"{key}._target_={target}: {error.args[0]}") from None


def _nodes(node: Any, key: str) -> Iterator[tuple[str, Node]]:
    """Yield all nodes that have a `_target_`, outer ones first."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _nodes(child, f"{key}.{index}")
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from _nodes(child, f"{key}.{name}")


def _known_keys(config: Node, library: Library) -> tuple[set[str], set[str]]:
    """List every key that can be set, and the prefixes below which anything can."""
    keys = {key for key in library.plain if not key.startswith("_")}
    opened: set[str] = set()

    def enter(node: Node, prefix: str) -> None:
        names = {name: None for name in node if not str(name).startswith("_")}
        if "_target_" in node:
            signature = signature_of(node["_target_"], prefix)
            keys.add(f"{prefix}._target_")
            opened.update({prefix} if signature.is_open else ())
            opened.update(
                f"{prefix}.{name}"
                for name, parameter in signature.parameters.items()
                if _takes_any_key(parameter.annotation)
            )
            names |= dict.fromkeys(_settable(signature, prefix, library))
        for name in names:
            keys.add(f"{prefix}.{name}")
            if isinstance(node.get(name), dict):
                enter(node[name], f"{prefix}.{name}")

    for name, node in config.items():
        if isinstance(node, dict) and name != "choices":
            enter(node, name)
    return keys, opened


def _settable(signature: Signature, key: str, library: Library) -> list[str]:
    """Return the parameters that a user may set: not the objects that are filled in when built."""
    filled = {*FROM_RUN, *library.defaults}
    if key.partition(".")[0] != "env":
        filled |= {"env", *FROM_ENV}
    return [
        name
        for name, parameter in signature.parameters.items()
        if name not in filled or not _is_object(parameter.annotation)
    ]


def _is_object(annotation: Any) -> bool:
    """Return whether a parameter takes what YAML cannot hold."""
    inner = get_args(annotation) or (annotation,)
    return any(isinstance(kind, type) and issubclass(kind, Part | Unknown) for kind in inner)


def _takes_any_key(annotation: Any) -> bool:
    """Return whether keys below a parameter may be any."""
    inner = map(_takes_any_key, get_args(annotation))
    return annotation is Any or get_origin(annotation) is dict or any(inner)


def _suggest(key: str, options: Iterable[str]) -> str:
    """Return the words that suggest the nearest names, or all of the same part."""
    named = [option for option in options if "_" not in (option[0], option.rpartition(".")[2][0])]
    near = nearest(key, named)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    prefix = key.rpartition(".")[0]
    siblings = [option for option in named if prefix and option.rpartition(".")[0] == prefix]
    if siblings:
        return f"; there are {', '.join(siblings)}"
    return "; `mbrl train --help` lists the keys"


def _check_plain(node: Node, defaults: Node, prefix: str, typed: dict[str, str]) -> None:
    """Check keys outside the parts, by `_type_` or else by the type of the default."""
    for name, default in defaults.items():
        if name.startswith("_"):
            continue
        if name not in node:
            raise BadInput(f"{prefix}{name} is missing")
        key, value = f"{prefix}{name}", node[name]
        if not isinstance(default, dict):
            annotation = plain_type(defaults, name)
            node[name] = _check_value(key, value, annotation, node, typed.get(key))
        elif isinstance(value, dict):
            _check_plain(value, default, f"{key}.", typed)
        else:
            raise BadInput(f"{key}={_show(value)}: set one of {_below(key, default)}")


def plain_type(defaults: Node, name: str) -> Any:
    """Return the type of a key outside the parts: its `_type_`, or else that of the default."""
    kind = defaults.get("_type_", {}).get(name) or type(defaults[name]).__name__
    return resolve(ast.parse(kind, mode="eval").body, "mbrl.values")


def _below(key: str, node: Node) -> str:
    """List the keys of a mapping."""
    return ", ".join(f"{key}.{name}" for name in node if not name.startswith("_"))


def _check_node(node: Node, key: str, typed: dict[str, str]) -> None:
    """Check one part against what its class takes."""
    signature = signature_of(node["_target_"], key)
    values = {name: p.default for name, p in signature.parameters.items()}
    others = {k: v.value for k, v in values.items() if isinstance(v, ast.Constant)} | node
    for name, value in node.items():
        if name.startswith("_"):
            continue
        parameter = signature.parameters.get(name)
        if parameter is None:
            if not signature.is_open:
                other = moved.entry(moved.SPLIT, node["_target_"]).get(name)
                hint = f"; {other} does" if other else ""
                hint = hint or _suggest(
                    f"{key}.{name}", [f"{key}.{p}" for p in signature.parameters]
                )
                raise BadInput(f"{key}.{name}: {node['_target_']} does not take it{hint}")
            continue
        if value == "???":
            raise BadInput(f"{key}.{name}: {_missing(f'{key}.{name}', node, name, parameter)}")
        dotted = f"{key}.{name}"
        node[name] = _check_parameter(dotted, value, parameter, others, typed.get(dotted))
        if node.get("_known_", {}).get(name) == "gymnasium":
            check_gymnasium_id(dotted, node[name])
    for name in others.keys() - node.keys():  # a default may exceed another parameter
        _check_value(
            f"{key}.{name}", others[name], signature.parameters[name].annotation, others, None
        )


def _check_parameter(
    key: str, value: Any, parameter: Parameter, others: Node, text: str | None
) -> Any:
    """Return the value of a part's parameter in its type, if it is right.

    Raises:
        BadInput: naming what would be right, with an example of a list, or the classes of a part.
    """
    try:
        return _check_value(key, value, parameter.annotation, others, text)
    except BadInput as error:
        if isinstance(value, dict | list) or value is None:
            raise
        parts = parts_of(parameter.annotation)
        if parts:
            classes = " or ".join(c for part in parts for c in classes_of(part.target))
            hint = f"{key}._target_={classes or 'PACKAGE.CLASS'}"
            raise BadInput(f"{error}; choose one by {hint}") from None
        example = parameter.default
        if isinstance(example, ast.Tuple | ast.List) and example.elts:
            shown = ",".join(ast.unparse(item) for item in example.elts)
            raise BadInput(f"{error}; for example {key}=[{shown}]") from None
        raise


def _missing(key: str, node: Node, name: str, parameter: Parameter) -> str:
    """Return the words for a value that must be given, with an example."""
    samples: dict[Any, str] = {int: "1", float: "0.5", bool: "true"}
    sample = samples.get(base(parameter.annotation), name.upper())
    example = node.get("_example_", {}).get(name) or sample
    return f"a value must be given, for example {key}={example}"


def _check_value(key: str, value: Any, annotation: Any, others: Node, text: str | None) -> Any:
    """Return one value in its type, if it is right; text is what the user typed for it."""
    shown = _show(value) if text is None else text
    try:
        value = fit(value, annotation)
    except TypeError:
        try:
            # 2024 may be a folder; what stands in a file, or was typed in part, has no text
            value = fit(value if value is None or text is None else text, annotation)
        except TypeError:
            right = as_typed(expected(annotation, others))
            raise BadInput(f"{key}={shown}: should be {right}") from None
    try:
        check_value(key, value, annotation, others, shown)
    except BadInput as error:
        raise BadInput(as_typed(str(error))) from None
    return value


def as_typed(words: str) -> str:
    """Return a message with Python's constants as the command line writes them."""
    return re.sub(r"\b(None|True|False)\b", lambda m: _CONSTANTS[m[0]], words)


def _show(value: Any) -> str:
    """Return a value as a user would type it."""
    return _CONSTANTS.get(str(value), str(value))


def _check_places(config: Node, library: Library) -> None:
    """Check that each part is used, and each required parameter is there.

    Raises:
        BadInput: naming it.
    """
    choices = config["choices"]
    groups = [g for g in library.defaults if "_target_" in (config.get(g) or {})]
    takers: dict[str, set[str]] = {}
    given: set[str] = set(FROM_RUN)
    for group in groups:
        for key, node in _nodes(config[group], group):
            signature = signature_of(node["_target_"], key)
            takers[key] = set(signature.parameters) - set(node)
            takers[key] |= set(groups) if signature.is_open else set()
            for name, parameter in signature.parameters.items():
                if parameter.default is None and name not in node and name not in given:
                    raise BadInput(_ungiven(key, name, parameter, node, config, library))
        given |= {group, *FROM_ENV}
    for group in groups:
        if group in ("env", "agent"):
            continue
        if not any(group in names for names in takers.values()):
            agent = f"agent={choices['agent']}"
            fitting = [a for a in library.parts("agent") if _takes(a, group, library)]
            hint = f"; {' or '.join(fitting)} would" if fitting else ""
            raise BadInput(f"{group}={choices[group]}: {agent} takes no {group}{hint}")


def _takes(choice: str, group: str, library: Library) -> bool:
    """Return whether an agent's class takes a part of the group."""
    node = library.read(*choice.split("="))
    return group in signature_of(node["_target_"], choice).parameters


def _ungiven(
    key: str, name: str, parameter: Parameter, node: Node, config: Node, library: Library
) -> str:
    """Return the words for a part or value that is missing."""
    group = key.partition(".")[0]
    part = f"{group}={config['choices'].get(group)}"
    if name in library.defaults:
        options = " or ".join(library.parts(name))
        return f"{part} needs a {name}, but {name}=none is chosen: choose {options}"
    return f"{key}.{name}: {_missing(f'{key}.{name}', node, name, parameter)}"


def _check_needs(config: Node, library: Library) -> None:
    """Check that what parts require is provided by others, or by a key such as dataset.

    Raises:
        BadInput: naming what would provide it.
    """
    choices = config["choices"]
    provided = {k for k in library.plain if config.get(k) not in (None, False)}
    for group in library.defaults:
        provided |= gather(config.get(group), "_provides_")
    if config.get("dataset") and "dataset" not in gather(config.get("agent"), "_requires_"):
        raise BadInput(
            f"dataset={config['dataset']}: agent={choices['agent']} learns from its own steps and "
            "takes no dataset"
        )
    for group in library.defaults:
        for need in sorted(gather(config.get(group), "_requires_") - provided):
            part = f"{group}={choices[group]}"
            if need in library.plain:
                raise BadInput(f"{part} needs {need}: give {need}={need.upper()}")
            options = library.providers(need)
            kinds = {option.partition("=")[0] for option in options}
            now = " and ".join(f"{kind}={choices[kind]}" for kind in kinds if choices.get(kind))
            lack = f", which {now} does not provide" if now else ""
            raise BadInput(f"{part} needs {need}{lack}: choose {' or '.join(options) or 'another'}")
        for bar in sorted(gather(config.get(group), "_refuses_") & provided):
            other = next(g for g in library.defaults if bar in gather(config.get(g), "_provides_"))
            raise BadInput(
                f"{group}={choices[group]} does not take {bar}, which "
                f"{other}={choices[other]} has: choose another {group} or {other}"
            )


def _check_run(config: Node, typed: dict[str, str]) -> None:
    """Check the device's name, what several seeds share, and the run folder."""
    _check_device(config["device"])
    seeds = f"num_seeds={config['num_seeds']}"
    if config["num_seeds"] > 1 and config["dataset"] is not None:
        raise BadInput(f"{seeds}: should be 1 with a dataset, which one seed learns from at a time")
    if config["num_seeds"] > 1 and config["logger"]["wandb"]:
        raise BadInput(
            f"{seeds}: should be 1 with logger.wandb=true, which records a run a process"
        )
    folder = config["run_dir"]
    if folder and is_taken(Path(folder)):
        raise BadInput(
            f"run_dir={folder}: already there; go on with `mbrl train --resume {folder}` "
            "or name a new folder"
        )


def _check_device(device: str) -> None:
    """Check the name of a device; whether it is there is known once torch is imported.

    Raises:
        BadInput: if it is none.
    """
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", device):
        raise BadInput(f"device={device}: should be cpu, cuda or cuda:N")
