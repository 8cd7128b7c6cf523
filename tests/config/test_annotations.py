"""Annotations read from source: the types that they mean, and values that fit them."""

import ast
import math
from typing import Annotated, Any, Literal, Union

import pytest
from annotated_types import Ge, Gt, Interval, Lt

from mbrl.config.annotations import Part, Unknown, base, fit, resolve
from mbrl.values import AtMost, Count, InsideIf
from tests.config.parts import HERE

SOURCE = """
import math
from typing import Annotated, Literal
import annotated_types
from annotated_types import Ge, Gt, Interval, Lt
from mbrl import values
from mbrl.values import AtMost, Count as Number, InsideIf
from other import Elsewhere
LOW, HIGH = 1, 2 * 3
TOP = LOW + HIGH ** 2
Small = Lt(TOP)
Mode = Literal["a", 1]
class Thing: ...
def make(): ...
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    name = "annotated_module"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def read(text, home):
    return resolve(ast.parse(text, mode="eval").body, home)


@pytest.mark.parametrize(
    "text, kind",
    [
        ("int", int),
        ("None", type(None)),
        ("'int | None'", int | None),
        ("Optional[float]", float | None),
        ("Union[int, str]", int | str),
        ("Path", str),
        ("torch.device", str),
        ("object", Any),
        ("Literal['a', -1]", Literal["a", -1]),
        ("Mode", Literal["a", 1]),
        ("tuple", tuple[Any, ...]),
        ("tuple[int, float]", tuple[int, float]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("Sequence[int]", list[int]),
        ("list", list[Any]),
        ("Mapping[str, int]", dict[str, int]),
        ("dict", dict[Any, Any]),
        ("Number", Count),
        ("values.Count", Count),
        ("Annotated[int, Ge(LOW)]", Annotated[int, Ge(1)]),
        ("Annotated[int, Ge(HIGH)]", Annotated[int, Ge(6)]),
        ("Annotated[int, Small]", Annotated[int, Lt(37)]),
        ("Annotated[float, Gt(-1), Lt(math.inf)]", Annotated[float, Gt(-1), Lt(math.inf)]),
        ("Annotated[float, Interval(gt=0, lt=1 / 2)]", Annotated[float, Interval(gt=0, lt=0.5)]),
        ("Annotated[int, annotated_types.Ge(1)]", Annotated[int, Ge(1)]),
        ("Annotated[int, AtMost('size')]", Annotated[int, AtMost("size")]),
        ("Annotated[int, InsideIf('size')]", Annotated[int, InsideIf("size")]),
        ("Annotated[int, 'a mark', Mark(1), Ge(nowhere)]", int),  # no constraint that is known
    ],
)
def test_each_annotation_means_its_type(home, text, kind):
    assert read(text, home) == kind


def test_classes_and_functions_stand_for_parts(home):
    for name in ("Thing", "make"):
        kind = read(name, home)
        assert issubclass(kind, Part) and kind.target == f"{home}.{name}"
        assert kind is read(name, home) and kind.__name__ == name
    assert Union[read("Thing", home), None] == read("Thing | None", home)  # noqa: UP007


@pytest.mark.parametrize("text", ["Nowhere", "Elsewhere", "Callable[[int], int]", "3", "f(x)"])
def test_what_is_out_of_sight_is_unknown(home, text):
    assert issubclass(read(text, home), Unknown)
    assert resolve(None, home) is Unknown


@pytest.mark.parametrize(
    "annotation, good, bad",
    [
        ("int", [3, -1, 2.0], [2.5, True, "3", None, [1]]),
        ("float", [3, 0.5], [True, "x", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["x", ""], [1, None]),
        ("str | None", ["x", None], [1]),
        ("int | None", [None, 3], ["x"]),
        ("Optional[float]", [None, 1], ["x"]),
        ("Union[int, str]", [1, "x"], [1.5, None]),
        ("Literal['a', 1]", ["a", 1], ["b", 2, True, None]),
        ("tuple[int, float]", [[1, 2]], [[1], [1, 2, 3], [1.5, 2], 3, "ab"]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["x"], 1]),
        ("list[str]", [["a"]], [[1], "a"]),
        ("Sequence[tuple[int, int]]", [[[1, 2]]], [[1, 2]]),
        ("dict[str, int]", [{"a": 1}], [{"a": "x"}, []]),
        ("'tuple[int, int] | None'", [None, [1, 2]], [[1]]),
        ("Inner", [{"_target_": "x"}], [1, {"a": 1}, None]),
        ("Inner | None", [None], [1]),
        ("torch.device | str", ["cpu"], [1]),
        ("Annotated[int, Ge(5)]", [1, 2.0], ["x"]),  # the constraint is checked elsewhere
        ("Unheard", [1, "x", None], []),
    ],
)
def test_values_fit_annotations(annotation, good, bad):
    kind = read(annotation, HERE)
    for value in good:
        assert fit(value, kind) == value
    for value in bad:
        with pytest.raises(TypeError):
            fit(value, kind)


def test_numbers_take_the_type_that_is_asked_for():
    either, reverse = read("int | float", HERE), read("float | int", HERE)
    assert type(fit(1e5, int)) is int and type(fit(1, float)) is float
    assert type(fit(1, either)) is int and type(fit(1.0, either)) is float
    assert type(fit(1, reverse)) is int and type(fit(2.0, reverse)) is float  # its own type first
    assert [type(x) for x in fit([1, 1], tuple[int, float])] == [int, float]
    assert [type(x) for x in fit({"a": 1}, dict[str, float]).values()] == [float]


def test_the_base_of_a_type_is_without_constraints():
    assert base(Count) is int and base(str) is str
