"""Compose one resolved and checked config from typed settings; the only file that uses Hydra."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mbrl.config.arguments import Argument, parse_arguments, parse_value
from mbrl.config.check import check, check_choice, check_key, check_plain_value
from mbrl.config.defaults import add_defaults
from mbrl.config.library import CONFIGS, Library, nearest
from mbrl.config.renames import rename, rename_choice, rename_key
from mbrl.errors import BadInput


class Composed(NamedTuple):
    """A config ready to build."""

    config: dict[str, Any]  # resolved; the chosen names stand under "choices", in building order
    notes: list[str]  # for the user


def compose(
    arguments: Sequence[str], config_dir: Path | None = None, *, library: Library | None = None
) -> Composed:
    """Compose and check a config.

    What the user types wins over the preset experiment/AGENT_ENV.yaml, which wins over the
    choices' own files; with a typed dynamics, AGENT_DYNAMICS_ENV.yaml comes first. Only group
    choices pass through Hydra; values are set afterwards, so that its override grammar never sees
    them.

    Args:
        arguments: KEY=VALUE as typed.
        config_dir: a folder of the user's own choices, GROUP/NAME.yaml.
        library: the choices there are, for several configs of the same; None reads them.

    Raises:
        BadInput: in one line, if anything is unknown, of a wrong type, impossible or missing.
    """
    library = Library(config_dir) if library is None else library
    config, typed, notes = assemble(arguments, library)
    config = _resolve(config)
    rename(config)
    check(config, library, typed)
    add_defaults(config)
    starts, total = config["agent"].get("learning_starts"), config["total_steps"]
    known = (config.get("dynamics") or {}).get("_target_") == "mbrl.dynamics.Simulator"
    if isinstance(starts, int) and total <= starts and not known:
        notes.append(
            f"nothing will be learned: total_steps={total} ends before "
            f"agent.learning_starts={starts} is over"
        )
    return Composed(_without_labels(config), notes)


class Assembled(NamedTuple):
    """A config that is neither resolved nor checked."""

    config: dict[str, Any]
    typed: dict[str, str]  # dotted key -> text, of the keys below the groups
    notes: list[str]


def assemble(arguments: Sequence[str], library: Library, *, preset: bool = True) -> Assembled:
    """Compose the choices, then set what is typed.

    Args:
        arguments: KEY=VALUE as typed.
        library: the choices there are.
        preset: apply an experiment, the typed one or AGENT_ENV.

    Raises:
        BadInput: if a choice or a key is unknown.
    """
    _check_words(arguments, library)
    parsed = [a for typed in parse_arguments(arguments) for a in _spread(typed, library)]
    values = {a.key: a for a in parsed if a.key not in library.defaults}  # the last one counts
    notes = _replaced(parsed)
    chosen, more = _choose([a for a in parsed if a.key in library.defaults], library)
    notes += more
    if not preset:
        chosen["experiment"] = "none"
    config, choices = _compose(chosen, library)
    notes += _drop_preset_of_swapped(config, choices, chosen, [a.key for a in parsed], library)
    config["choices"] = {g: choices[g] for g in library.defaults if choices.get(g)}
    rename(config)
    typed = {}
    for key, text in values.values():
        key = rename_key(key, config)
        check_key(key, config, library)
        _set(config, Argument(key, text))
        typed[key] = text
    return Assembled(config, typed, notes)


def _check_words(arguments: Sequence[str], library: Library) -> None:
    """Check that no choice stands without its group: `mbpo pendulum`.

    Raises:
        BadInput: with the settings that were meant.
    """
    words = [argument for argument in arguments if "=" not in argument]
    groups = sorted(reversed(library.defaults), key=lambda group: group == "agent")
    options = {name: f"{group}={name}" for group in groups for name in library.choices(group)}
    options |= {group: f"{group}={choice}" for group, choice in library.defaults.items()}
    meant = [options.get(near) for word in words for near in nearest(word, options)[:1]]
    if words and len(meant) == len(words):
        raise BadInput(f"{' '.join(words)}: write {' '.join(map(str, meant))}")


def plain_value(key: str, text: str) -> Any:
    """Read and check the value of a key outside the parts, such as total_steps.

    Args:
        key: its name.
        text: the value as typed.

    Raises:
        BadInput: if type or range is wrong.
    """
    return check_plain_value(key, text, parse_value(text), Library().plain)


def _replaced(parsed: list[Argument]) -> list[str]:
    """Return the notes of what is typed twice: the last one counts, as a sweep needs it."""
    seen: dict[str, str] = {}
    notes = []
    for key, text in parsed:
        if seen.get(key, text) != text:
            notes.append(f"{key}={seen[key]} is replaced by {key}={text}, which comes later")
        seen[key] = text
    return notes


def _spread(argument: Argument, library: Library) -> list[Argument]:
    """Split GROUP={KEY: VALUE}, as a sweep writes nested parameters, into GROUP.KEY=VALUE."""
    key, text = argument
    if key in library.defaults or isinstance(library.plain.get(key), dict):
        value = parse_value(text)
        if isinstance(value, dict):
            return [Argument(f"{key}.{name}", repr(item)) for name, item in value.items()]
    return [argument]


def _choose(arguments: list[Argument], library: Library) -> tuple[dict[str, str], list[str]]:
    """Check the choices that the user made, and add the preset if there is one."""
    chosen = {}
    for group, text in arguments:
        chosen[group] = "none" if parse_value(text) is None else rename_choice(group, text)
        check_choice(group, chosen[group], library)
    if "experiment" in chosen:
        return chosen, []
    preset = next((p for p in _presets(chosen, library) if library.file("experiment", p)), None)
    if preset is None:
        return chosen, []
    note = f"preset experiment={preset} is applied; experiment=none switches it off"
    return {**chosen, "experiment": preset}, [note]


def _presets(chosen: dict[str, str], library: Library) -> list[str]:
    """Return the names of the presets of which the first that exists is applied."""
    names = {**library.defaults, **chosen}
    parts = [("agent", "dynamics", "env")] * ("dynamics" in chosen) + [("agent", "env")]
    return ["_".join(names[group] for group in groups) for groups in parts]


def _compose(chosen: dict[str, str], library: Library) -> tuple[dict[str, Any], dict[str, str]]:
    """Compose the files, once for each library; values stay unresolved."""
    names = tuple(chosen.items())
    if names not in library.composed:
        library.composed[names] = _compose_files(chosen, library)
    return copy.deepcopy(library.composed[names])


def _compose_files(
    chosen: dict[str, str], library: Library
) -> tuple[dict[str, Any], dict[str, str]]:
    """Compose the files with Hydra."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = [
        f"{'+' if group in library.own_groups else ''}{group}={name}"
        for group, name in chosen.items()
        if not (group in library.own_groups and name == "none")
    ]
    own = [folder for folder in library.folders if folder != CONFIGS]
    if own:
        path = str(own[0].resolve()).replace("\\", "\\\\").replace("'", "\\'")
        overrides.append(f"hydra.searchpath=['file://{path}']")
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = hydra_compose("train", overrides=overrides, return_hydra_config=True)
        choices = dict(composed.hydra.runtime.choices)
        config = OmegaConf.to_container(composed, resolve=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput(_first_line(error)) from None
    assert isinstance(config, dict)
    del config["hydra"]
    return {str(key): value for key, value in config.items()}, choices


def _drop_preset_of_swapped(
    config: dict[str, Any],
    choices: dict[str, str],
    chosen: dict[str, str],
    typed: list[str],
    library: Library,
) -> list[str]:
    """Remove a preset's settings of a part that the user replaced by another choice."""
    if choices.get("experiment") in (None, "none"):
        return []
    meant = {"agent", "env", "experiment"}
    if "dynamics" in chosen and choices["experiment"] == _presets(chosen, library)[0]:
        meant.add("dynamics")  # the preset was made for it
    replaced = [g for g in typed if g in chosen and g not in meant]
    if not replaced:
        return []
    _, usual = _compose({g: n for g, n in chosen.items() if g not in replaced}, library)
    bare, _ = _compose({**chosen, "experiment": "none"}, library)
    notes = []
    for group in replaced:
        if choices.get(group) != usual.get(group) and config.get(group) != bare.get(group):
            config[group] = bare.get(group) or {}
            notes.append(f"the preset's {group} settings are left out for {group}={chosen[group]}")
    return notes


def _set(config: dict[str, Any], argument: Argument) -> None:
    """Set a dotted key; check_key has made sure that it can be."""
    *path, last = argument.key.split(".")
    node = config
    for name in path:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    node[last] = parse_value(argument.text)


def _resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Resolve ${...}."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0]
        raise BadInput(f"{error.full_key}: {reason}") from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _first_line(error: Exception) -> str:
    """Return an error of several lines in one, without the search path."""
    lines = str(error).partition("Config search path")[0].split("\n")
    return " ".join(line.strip() for line in lines if line.strip())


def _without_labels(node: Any) -> Any:
    """Drop `_requires_` and the like; what is left builds the parts."""
    if isinstance(node, list):
        return [_without_labels(child) for child in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_labels(child)
        for key, child in node.items()
        if key == "_target_" or not (str(key).startswith("_") and str(key).endswith("_"))
    }
