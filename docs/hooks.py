"""Build steps of the documentation site: pages made from the classes, equations, linked files."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.check import as_typed
from mbrl.config.library import CONFIGS, Library
from mbrl.config.signatures import Parameter, read_signature
from mbrl.values import expected

ROOT = Path(__file__).parent.parent
NOT_GROUPS = ("experiment", "sweep")
SINGLE_FILES = ("types", "roles", "errors", "values", "api")  # rooms that are one file
NOT_FOR_USERS = ("cli", "config")
OUTSIDE = re.compile(r"\]\(((?:\.\./)+[\w./-]+)\)")  # a link that may leave docs/


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the navigation, and the renderer of equations."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": equation}]
    reference: list[Any] = next(e["Reference"] for e in config.nav or [] if "Reference" in e)
    reference.append({"Configuration": [{g: configuration_page(g)} for g in groups()]})
    reference.append({"Old names": "reference/moved.md"})
    reference.append({"Python": [{f"mbrl.{room}": api_page(room)} for room in rooms()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate the reference pages, and add the files that pages link to outside docs/."""
    for group in groups():
        files.append(File.generated(config, configuration_page(group), content=configure(group)))
    for room in rooms():
        files.append(File.generated(config, api_page(room), content=document(room)))
    files.append(File.generated(config, "reference/moved.md", content=old_names()))
    linked: set[Path] = set()
    for file in files.documentation_pages():
        if file.abs_src_path is not None:
            linked |= set(outside(file.abs_src_path))
    for path in sorted(linked):
        name = f"files/{path.relative_to(ROOT)}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave docs/ to the copies that the site holds."""
    depth = page.file.src_uri.count("/")

    def replace(match: re.Match[str]) -> str:
        leaves = "../" * (depth + 1)
        link = match[1]
        if not link.startswith(leaves):
            return match[0]
        return f"]({'../' * depth}files/{link.removeprefix(leaves)})"

    return OUTSIDE.sub(replace, markdown)


def outside(page: str) -> list[Path]:
    """Return the files outside docs/ that a page links to."""
    folder, text = Path(page).parent, Path(page).read_text(encoding="utf-8")
    paths = [(folder / link).resolve() for link in OUTSIDE.findall(text)]
    return [p for p in paths if p.is_file() and not p.is_relative_to(ROOT / "docs")]


def equation(source: str, *_: Any, **__: Any) -> str:
    """Return an equation as MathML, which browsers show by themselves."""
    return f"<p>{convert(' '.join(source.split()), display='block')}</p>"


# ---- the configuration reference ---------------------------------------------------------------


def groups() -> list[str]:
    """Return the config groups, the main ones first."""
    folders = sorted(f.name for f in CONFIGS.iterdir() if f.is_dir() and f.name not in NOT_GROUPS)
    return ["train", *sorted(folders, key=lambda name: name != "agent"), "experiment"]


def configuration_page(group: str) -> str:
    """Return the place of a group's page."""
    return f"reference/configuration/{group}.md"


def configure(group: str) -> str:
    """Return the page of a group: every choice, every parameter."""
    if group == "train":
        text = (CONFIGS / "train.yaml").read_text(encoding="utf-8")
        plain = "\n".join(x for x in text.split("\n") if not x.startswith(("_", "   ")))
        intro = "# Keys of a run\n\nThe keys beside the groups, with their defaults."
        return f"{intro}\n\n```yaml\n{plain}\n```\n"
    folder, library = CONFIGS / group, Library()
    if group == "experiment":
        intro = "# experiment\n\nPresets. `AGENT_ENV` is applied by itself; what you type wins.\n"
        presets = (
            f"## {f.stem}\n\n```yaml\n{f.read_text()}```\n" for f in sorted(folder.glob("*.yaml"))
        )
        return "\n".join([intro, *presets])
    parts = [
        f"# {group}=\n\nEvery choice of `{group}=`, made from the classes and their YAML files.\n"
    ]
    for file in sorted(folder.glob("*.yaml")):
        node = library.read(group, file.stem)
        if "_target_" in node:
            parts.append(choice(group, file.stem, node))
    return "\n".join(parts)


def choice(group: str, name: str, node: dict[str, Any]) -> str:
    """Return the section of one choice, with a table of the parameters of each of its parts."""
    lines = [f"## {group}={name}", ""]
    for key, part in parts_of(group, node):
        signature = read_signature(part["_target_"])
        home = f"`{part['_target_']}`"
        lines += [home if key == group else f"**`{key}`**: {home}", "", signature.summary, ""]
        filled = {*FROM_RUN, *FROM_ENV, *Library().defaults}
        rows = [
            row(f"{key}.{name}", part.get(name), name in part, parameter)
            for name, parameter in signature.parameters.items()
            if name in part or (parameter.default is not None and name not in filled)
        ]
        if rows:
            lines += [
                "| key | takes | value | from | meaning |",
                "|---|---|---|---|---|",
                *rows,
                "",
            ]
    return "\n".join(lines)


def parts_of(key: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a node and the nodes within it that build a part, with their keys."""
    if "_target_" in node:
        yield key, node
    for name, child in node.items():
        if isinstance(child, dict) and not name.startswith("_"):
            yield from parts_of(f"{key}.{name}", child)


def row(key: str, value: Any, in_yaml: bool, parameter: Parameter) -> str:
    """Return a row of the table of parameters."""
    if isinstance(value, dict) and "_target_" in value:
        shown = value["_target_"].rpartition(".")[2]
    elif in_yaml:
        shown = yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n...")[0].strip()
    else:
        shown = ast.unparse(parameter.default) if parameter.default is not None else ""
        words = {"None": "null", "True": "true", "False": "false"}
        shown = words.get(shown, shown.strip("'"))
    source = "YAML" if in_yaml else "class"
    kind = as_typed(expected(parameter.annotation))
    cells = [f"`{key}`", kind, f"`{shown}`", source, parameter.description]
    return "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |"


def old_names() -> str:
    """Return the page of names that work for one release more."""
    from mbrl import moved

    lines = ["# Old names", "", "These work for one release, with a `DeprecationWarning`.", ""]
    lines += ["| old | new |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in sorted(moved.NAMES.items())]
    lines += ["", "Parameters and configuration keys:", "", "| of | old | new |", "|---|---|---|"]
    for owner, names in sorted(moved.PARAMETERS.items()):
        lines += [f"| `{owner}` | `{old}` | `{new}` |" for old, new in sorted(names.items())]
    return "\n".join(lines)


# ---- the Python reference ----------------------------------------------------------------------


def rooms() -> list[str]:
    """Return the rooms of the package that export names, dotted, without `mbrl.`."""
    house = ROOT / "mbrl"
    single = [name for name in SINGLE_FILES if (house / f"{name}.py").is_file()]
    inits = sorted(house.glob("**/__init__.py"))
    found = [
        f.parent.relative_to(house) for f in inits if re.search(r"^__all__\b", f.read_text(), re.M)
    ]
    dotted = [".".join(p.parts) for p in found if p.parts and p.parts[0] not in NOT_FOR_USERS]
    return [*single, *dotted]


def api_page(room: str) -> str:
    """Return the place of a room's page."""
    return f"reference/api/{room}.md"


def document(room: str) -> str:
    """Return the page of a room: what it is, and each name that it exports."""
    module = importlib.import_module(f"mbrl.{room}")
    summary = (module.__doc__ or "").partition("\n\n")[0]
    lines = [f"# mbrl.{room}", "", summary, ""]
    for name in exported(room):
        thing = getattr(module, name)
        home = f"{thing.__module__}.{thing.__qualname__}"
        first = next(r for r in rooms() if name in exported(r) and same(r, name, thing))
        if first == room:
            is_data = hasattr(thing, "_fields")  # its fields and shapes stand in the source
            lines += [f"::: {home}", *(["    options: {show_source: true}"] if is_data else []), ""]
        else:
            lines += [f"`{name}`: see [mbrl.{first}]({first}.md).", ""]
    return "\n".join(lines)


def same(room: str, name: str, thing: Any) -> bool:
    """Return whether a room's name is this very thing."""
    return getattr(importlib.import_module(f"mbrl.{room}"), name) is thing


def exported(room: str) -> list[str]:
    """Return the classes and functions of the package that a room exports."""
    module = importlib.import_module(f"mbrl.{room}")
    own = [n for n, t in vars(module).items() if getattr(t, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", [n for n in own if not n.startswith("_")])
    things = ((n, getattr(module, n)) for n in names)
    return [
        name
        for name, thing in things
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__.startswith("mbrl.")
    ]
