"""The Python API says in its docstrings what goes in, in which shape, what is raised, whose idea.

The API is what `mbrl` and its rooms export in `__all__`, and the public names of its single files.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import mbrl

HOUSE = Path(mbrl.__file__).parent
ROOMS = [f"mbrl.{init.parent.name}" for init in sorted(HOUSE.glob("*/__init__.py"))]
FILES = [f"mbrl.{file.stem}" for file in sorted(HOUSE.glob("*.py")) if file.stem[0] != "_"]
ON_DEMAND = ["mbrl.GymAgent", "mbrl.load", "mbrl.make_vec"]
VERBS = set(
    re.findall(
        r"\w+",
        """
    Return Compute Sample Fit Predict Load Save Check Raise Draw Write Read Build Update Run
    Act Adapt Add Advance Aggregate Allocate Append Apply Assign Average Bound Branch Call
    Capture Choose Clear Clip Close Collect Combine Concatenate Compare Compile Complete
    Compose Convert Copy Count Create Decode Decompose Delete Describe Differentiate Distill
    Divide Download Drop Encode Enter Estimate Evaluate Expand Export Extract Fill Filter
    Find Format Freeze Generate Group Handle Hash Hold Ignore Import Improve Initialize
    Insert Integrate Invert Iterate Join List Lock Log Make Map Mark Mask Maximize Measure Merge
    Minimize Mix Move Multiply Normalize Observe Open Pack Pad Parse Penalize Plan Plot
    Print Project Propagate Propose Prune Record Reduce Refine Refit Register Reject Release
    Rename Remove Render Repeat Replace Replay Report Request Rescale Reset Reshape Resolve
    Restore Retrain Roll Rotate Round Scale Schedule Score Search Seed Select Send Set Shift
    Shrink Simulate Skip Smooth Solve Sort Split Stack Standardize Start Step Stop Store
    Subtract Suggest Sum Switch Synchronize Terminate Test Tighten Train Transform Translate
    Truncate Undo Unpack Unroll Validate Verify Wait Warn Whiten Wrap Yield Do Optimize
    """,
    )
)
NEVER = {"Give", "Take", "Tell", "Say", "Begin", "Know", "Hand"}
# words that begin the description of a class as well as that of a function
NOUNS = {
    "Check",
    "Copy",
    "Count",
    "Filter",
    "Hash",
    "List",
    "Lock",
    "Log",
    "Map",
    "Mask",
    "Mix",
    "Plan",
}
NOUNS |= {"Record", "Report", "Sample", "Score", "Search", "Set", "Step", "Sum", "Test", "Update"}
# parts that are no paper's algorithm: a baseline, frames, the environment itself
NO_PAPER = {"Random", "ModelFree", "Offline", "Simulator", "FallbackDynamics", "ResidualDynamics"}
NO_PAPER |= {"FittedModel"}


def is_api(thing: Any) -> bool:
    return inspect.isclass(thing) or inspect.isfunction(thing)


def named(module: ModuleType) -> list[str]:
    """What a module exports; a single file exports what is defined there."""
    own = [
        name
        for name, thing in vars(module).items()
        if name[0] != "_" and is_api(thing) and thing.__module__ == module.__name__
    ]
    return [f"{module.__name__}.{name}" for name in getattr(module, "__all__", own)]


def get(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


EXPORTED = [n for room in ROOMS + FILES for n in named(importlib.import_module(room))]
API = [name for name in dict.fromkeys(EXPORTED + ON_DEMAND) if is_api(get(name))]
METHODS = [
    f"{name}.{method}"
    for name in API
    if inspect.isclass(get(name))
    for method, thing in vars(get(name)).items()
    if method[0] != "_" and inspect.isfunction(getattr(thing, "__func__", thing))
]
PARTS = {
    f"{file.parent.name}={file.stem}": node["_target_"]
    for group in ("agent", "learner", "dynamics", "planner")
    for file in sorted((HOUSE / "configs" / group).glob("*.yaml"))
    if "_target_" in (node := yaml.safe_load(file.read_text()) or {})
}
ROLES = [get(name) for name in API if getattr(get(name), "_is_protocol", False)]


def told(thing: type, method: str) -> str:
    """The docstrings of a method: its own, and those of the roles it plays."""
    owners = [*thing.__mro__, *ROLES]
    return "\n\n".join(
        inspect.cleandoc(vars(o)[method].__doc__ or "") for o in owners if method in vars(o)
    )


def is_data(thing: Any) -> bool:
    """Named tuples and dataclasses: they do nothing, their fields stand with a comment each."""
    return hasattr(thing, "_fields") or dataclasses.is_dataclass(thing)


def entries(doc: str, section: str) -> dict[str, str]:
    """The entries of a section of a Google-style docstring."""
    found = re.search(rf"^{section}:\n((?:[ ]+.*\n|\n)*)", f"{doc}\n", re.M)
    lines = textwrap.dedent(found[1]) if found else ""
    return dict(re.findall(r"^\**(\w+): ((?:.*\n?)(?:^[ ]+.*\n?)*)", lines, re.M))


def check_first_line(doc: str) -> None:
    """One line that ends with a full stop."""
    first, _, rest = doc.partition("\n")
    assert re.fullmatch(r".+\.", first) and rest[:1] in ("", "\n"), f"first line: {first}"


def check_tensors(function: Any, doc: str) -> None:
    """Every tensor that comes in has a shape, such as (B, obs_dim), behind its name."""
    for key, parameter in inspect.signature(function).parameters.items():
        if re.fullmatch(r"(torch\.)?Tensor( \| None)?", str(parameter.annotation)):
            shape = rf"\b{key}s?\b[^.(]{{0,60}}\([\w.*+ -]+,[^()]*\)"
            assert re.search(shape, doc), f"the shape of {key} is not said"


def check_errors(function: Any, doc: str) -> None:
    """What is raised visibly, in the function itself, stands under Raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [ast.unparse(n.exc) for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc]
    if any("BadInput" in error for error in raised):
        assert "BadInput" in entries(doc, "Raises"), "BadInput is not under Raises"


@pytest.mark.parametrize(
    "file", sorted(HOUSE.rglob("*.py")), ids=lambda f: str(f.relative_to(HOUSE))
)
def test_functions_say_what_they_do_and_classes_what_they_are(file):
    wrong = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
            first = re.split(r"[ ,.;:]", doc)[0]
            if isinstance(node, ast.ClassDef):
                right = first not in (VERBS - NOUNS) | NEVER
            else:
                right = first in VERBS
            if not right:
                wrong.append(f"{node.name}: {doc.splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [name for name in API if not is_data(get(name))])
def test_classes_and_functions(name):
    thing = get(name)
    doc = inspect.cleandoc(thing.__doc__ or "")
    check_first_line(doc)
    maker = vars(thing).get("__init__") if inspect.isclass(thing) else thing
    if inspect.isfunction(maker) and thing not in ROLES:
        told_of = entries(doc, "Args")
        missing = [p for p in inspect.signature(maker).parameters if p not in ("self", *told_of)]
        assert not missing, f"not under Args: {missing}"
        check_tensors(maker, doc)
        check_errors(maker, doc)


@pytest.mark.parametrize("name", [name for name in API if is_data(get(name))])
def test_fields_of_data(name):
    thing = get(name)
    check_first_line(inspect.cleandoc(thing.__doc__ or ""))
    lines = inspect.getsource(thing).splitlines()
    for field in thing.__annotations__:
        (line,) = [line for line in lines if line.startswith(f"    {field}: ")]
        if "Tensor" in line.partition("=")[0]:
            assert re.search(r"# .*\(.*,.*\)", line), f"the shape of {field} is not said"


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    owner, _, method = name.rpartition(".")
    function = inspect.unwrap(getattr(get(owner), method))
    check_first_line(inspect.cleandoc(function.__doc__ or ""))
    check_tensors(function, told(get(owner), method))
    check_errors(function, told(get(owner), method))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_names_its_paper(part):
    if PARTS[part].rpartition(".")[2] not in NO_PAPER:
        doc = get(PARTS[part]).__doc__ or ""
        assert re.search(r"[A-Z]\w+ (et al\. |and [A-Z]\w+ )?(19|20)\d\d", doc), "whose idea?"
