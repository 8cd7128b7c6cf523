"""Every number that a part takes has a range, on the command line and from Python."""

import importlib
import inspect
import math
import numbers
import types
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from mbrl.config.check import plain_type
from mbrl.config.library import Library
from mbrl.errors import BadInput, UnknownArgument
from mbrl.values import LARGEST, annotations_of
from tests.config.test_signatures import NODES, targets

FREE = {  # parameter -> why it needs no range
    "generator": "a seed, of any size",
    "obs_dim": "filled in from the environment",
    "max_episode_steps": "filled in from the environment",
    "seed": "filled in from the run, where it has a range",
    "total_steps": "filled in from the run, where it has a range",
}
ROOMS = ("agents", "dynamics", "dynamics.sindy", "envs", "envs.tasks", "learners", "planners")


def located(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_part(made: Any) -> bool:
    """Return whether a name of a package is a class that this project defines and users build."""
    final = getattr(made, "__final__", False)
    return isinstance(made, type) and final and not issubclass(made, tuple)


PARTS = sorted(
    {node["_target_"] for node in NODES.values() for node in targets(node)}
    | {
        f"mbrl.{room}.{name}"
        for room in ROOMS
        for name in getattr(importlib.import_module(f"mbrl.{room}"), "__all__", ())
        if is_part(located(f"mbrl.{room}.{name}"))
    }
)


def bare(annotation: Any) -> bool:
    """Return whether a number in an annotation has no constraint."""
    if get_origin(annotation) is Annotated:
        return False
    if annotation in (int, float):
        return True
    return any(bare(inner) for inner in get_args(annotation) if inner is not ...)


def ranged(annotation: Any) -> list[Any]:
    """Return the constrained numbers that a parameter takes directly or as an option."""
    if get_origin(annotation) is Annotated:
        return [annotation] if get_args(annotation)[0] in (int, float) else []
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for inner in get_args(annotation) for found in ranged(inner)]
    return []


@pytest.mark.parametrize("target", PARTS)
def test_every_number_has_a_range(target):
    made = located(target)
    function = made.__init__ if isinstance(made, type) else made
    for name, annotation in annotations_of(inspect.unwrap(function)).items():
        assert name in FREE or not bare(annotation), name


@pytest.mark.parametrize("target", PARTS)
def test_python_users_get_the_same_checks(target):
    made = located(target)
    function = made.__init__ if isinstance(made, type) else made
    for name, annotation in annotations_of(inspect.unwrap(function)).items():
        for kind in ranged(annotation):
            wrong = LARGEST * 10 if get_args(kind)[0] is int else math.nan
            with pytest.raises(BadInput, match=f"^{name}={wrong}: should be "):
                made(**{name: wrong})
    if "kwargs" not in inspect.signature(made).parameters and inspect.signature(made).parameters:
        with pytest.raises((UnknownArgument, TypeError)):
            made(no_such_argument=1)


def test_every_key_of_a_run_has_a_range():
    plain = Library().plain
    kinds = {n: plain_type(plain, n) for n, v in plain.items() if isinstance(v, numbers.Real)}
    assert kinds and not [name for name, kind in kinds.items() if bare(kind)]


def test_an_unknown_argument_is_answered_with_the_nearest():
    made = located("mbrl.planners.CEM")
    with pytest.raises(UnknownArgument, match="^horizn: CEM takes no such argument; did you mean"):
        made(horizn=3)
    assert issubclass(UnknownArgument, TypeError) and issubclass(UnknownArgument, BadInput)
    settings = located("mbrl.dynamics.EnsembleTraining")
    with pytest.raises(UnknownArgument, match="did you mean batch_size"):
        settings(batchsize=3)
