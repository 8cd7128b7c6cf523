"""Values of parameters: what each annotation takes, and the words for what it does not."""

import dataclasses
import math
from typing import Annotated, Any, Literal, Optional

import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt

from mbrl import moved, values
from mbrl.config.annotations import resolve
from mbrl.errors import BadInput
from mbrl.values import (
    AtMost,
    Count,
    CountOrZero,
    Fraction,
    InsideIf,
    NonNegative,
    Positive,
    Seed,
    annotations_of,
    check_value,
    checked,
    describe,
    expected,
    satisfies,
)
from tests.config.parts import HERE, compose_toy, mine, refused, write  # noqa: F401

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    "annotation, good, bad, right",
    [
        (int, [3, -1, np.int64(3), np.uint8(1)], [2.0, True, "3", None, NAN], "a whole number"),
        (float, [3, 0.5, INF, np.float32(1)], [True, "x", None, NAN, 1j], "a number"),
        (bool, [True, False], [1, 0, "true", None], "True or False"),
        (str, ["", "x"], [1, None, b"x"], "text"),
        (type(None), [None], [0, False, ""], "None"),
        (Any, [1, None, "x", NAN], [], ""),
        (  # what is in it is left
            dict[str, int],
            [{}, {"a": "b"}],
            [3, ["a"]],
            "a mapping, for each name a whole number",
        ),
        (Annotated[int, Ge(2)], [2, 3], [1], "at least 2"),
        (Annotated[int, Gt(2)], [3], [2], "above 2"),
        (Annotated[int, Le(2)], [2, -9], [3], "at most 2"),
        (Annotated[int, Lt(2)], [1], [2], "below 2"),
        (Annotated[float, Interval(gt=0, lt=1)], [0.5], [0, 1], "above 0 and below 1"),
        (Annotated[float, Interval(ge=0, le=1)], [0, 1], [-0.1, 1.1], "at least 0 and at most 1"),
        (Annotated[float, Gt(0)], [1e300], [INF], "above 0 and finite"),
        (Annotated[float, Le(INF)], [INF, -1], [], ""),
        (Annotated[float, Interval(gt=0, le=INF)], [INF, 1], [0], "above 0 and at most inf"),
        (Annotated[float, Lt(INF)], [1.0], [INF], "finite"),
        (Count, [1], [0], "at least 1"),
        (CountOrZero, [0], [-1], "at least 0"),
        (Positive, [0.1], [0, -1], "above 0"),
        (NonNegative, [0.0], [-1e-9], "at least 0"),
        (Fraction, [0, 1.0], [1.5], "at least 0 and at most 1"),
        (Seed, [0, 2**31 - 1], [-1, 2**31], "at least 0 and at most 2147483647"),
        (Count, [], [1.5, True, "1", None], "a whole number, at least 1"),  # the type is named too
        (Count | None, [None, 1], [0], "at least 1 or None"),
        (Optional[Positive], [None, 1], ["x"], "a number, above 0 or None"),  # noqa: UP045
        (int | str, [1, "x"], [None], "a whole number or text"),
        (Literal["a", 1], ["a", 1], ["b", True, None, 2], "one of a, 1"),
        (list[Count], [[], [1], (1, 2)], [[1, 0]], "at least 1"),
        (tuple[int, ...], [(), (1,), [1, 2, 3]], [(1, "x")], "a whole number"),
        (tuple[CountOrZero, Count], [(0, 1), [0, 1]], [(0, 0)], "at least 1"),
        (
            tuple[int, float],
            [],
            [(1,), (1, 2, 3), ()],
            "a list of 2 values: a whole number, a number",
        ),
    ],
)
def test_each_annotation_takes_its_values_and_names_what_is_right(annotation, good, bad, right):
    for value in good:
        check_value("x", value, annotation, {})
    for value in bad:
        with pytest.raises(BadInput) as caught:
            check_value("x", value, annotation, {})
        assert str(caught.value) == f"x={value!r}: should be {right}"


def test_a_value_is_written_as_the_user_typed_it():
    with pytest.raises(BadInput, match=r"^a\.x=1e0: should be below 1$"):
        check_value("a.x", 1.0, Annotated[float, Lt(1)], {}, "1e0")


@pytest.mark.parametrize(
    "annotation, words",
    [
        (int, "a whole number"),
        (Count, "a whole number, at least 1"),
        (Fraction | None, "a number, at least 0 and at most 1 or None"),
        (int | int, "a whole number"),
        (Literal["fast", "slow"], "one of fast, slow"),
        (tuple[Count, ...], "a list: a whole number, at least 1 each"),
        (tuple[int, int], "a list of 2 values: a whole number each"),
        (list[str], "a list: text each"),
        (dict[str, int], "a mapping, for each name a whole number"),
        (dict[str, Any], "a mapping"),
        (Any, "a value"),
        (np.ndarray, "ndarray"),
        (Annotated[int, "another mark"], "a whole number"),
        (Annotated[int, AtMost("size")], "a whole number, at most size"),
        (Annotated[float, InsideIf("weight")], "a number, above 0 and below 1 with weight"),
    ],
)
def test_what_is_expected_is_said_in_words(annotation, words):
    assert expected(annotation) == words


def test_a_limit_by_another_parameter_holds_and_shows_its_value():
    limit = AtMost("size")
    assert satisfies(3, limit, {"size": 3}) and not satisfies(4, limit, {"size": 3})
    assert satisfies(4, limit, {}) and satisfies(4, limit, {"size": None})  # nothing to exceed
    assert describe((Ge(1), limit), {"size": 3}) == "at least 1 and at most size=3"
    assert describe((limit,), {"size": None}) == "at most size"


def test_a_share_is_inside_only_where_the_other_parameter_asks_for_it():
    limit = InsideIf("weight")
    for others in ({}, {"weight": 0.0}, {"weight": None}):
        assert satisfies(0, limit, others) and satisfies(1, limit, others)
        assert describe((limit,), others) == ""
    asked = {"weight": 0.1}
    assert [satisfies(x, limit, asked) for x in (0, 0.5, 1)] == [False, True, False]
    assert describe((limit,), asked) == "above 0 and below 1 with weight"


def test_marks_that_are_no_constraints_are_passed_over():
    assert satisfies(3, "another mark", {}) and describe(("another mark",)) == ""


class Sized:
    @checked
    def __init__(
        self,
        size: Count = 7,
        *,
        part: Annotated[int, Ge(1), AtMost("size")] = 5,
        later: "tuple[Count, ...] | None" = None,
        unseen: "Nowhere" = None,  # type: ignore[name-defined] # noqa: F821
        free=None,
    ):
        self.given = size, part, later, unseen, free


def test_a_constructor_checks_positions_keywords_and_defaults():
    assert Sized(9, part=9, later=(1,), unseen=3, free=NAN).given[:2] == (9, 9)
    for arguments, settings, words in [
        ((0,), {}, "size=0: should be at least 1"),
        ((), {"size": "3"}, "size='3': should be a whole number, at least 1"),
        ((), {"part": 8}, "part=8: should be at least 1 and at most size=7"),
        ((3,), {}, "part=5: should be at least 1 and at most size=3"),  # a default exceeds
        ((), {"later": (1, 0)}, "later=(1, 0): should be at least 1 or None"),
    ]:
        with pytest.raises(BadInput) as caught:
            Sized(*arguments, **settings)
        assert str(caught.value) == words
    with pytest.raises(ValueError):  # BadInput is one
        Sized(0)
    with pytest.raises(TypeError, match="colour"):
        Sized(colour=1)  # type: ignore[call-arg]


def test_a_function_keeps_its_name_and_its_result():
    @checked
    def double(number: Positive) -> float:
        """Return twice the number."""
        return 2 * number

    assert double(2) == 4 and double.__name__ == "double"
    with pytest.raises(BadInput, match=r"^number=nan: should be a number, above 0$"):
        double(NAN)


def test_a_dataclass_is_checked_when_it_is_made_and_replaced():
    @checked
    @dataclasses.dataclass(frozen=True)
    class Settings:
        rate: Positive = 0.1

    assert Settings() == Settings(rate=0.1)
    with pytest.raises(BadInput, match="rate=0: should be above 0"):
        Settings(0)
    with pytest.raises(BadInput, match="rate=-1: should be above 0"):
        dataclasses.replace(Settings(), rate=-1)


def test_annotations_are_resolved_and_those_out_of_sight_left_out():
    found = annotations_of(Sized.__init__)
    assert list(found) == ["size", "part", "later"]
    assert found["size"] == Count and found["later"] == tuple[Count, ...] | None


@checked
@dataclasses.dataclass(frozen=True)
class Inner:
    rate: Positive = 0.5
    scale: Positive = 1.0


class Renamed:
    @checked
    def __init__(
        self,
        *,
        color: float = 0.0,
        mode: Literal["selected", "data"] = "data",
        inner: Inner | None = None,
        made: Inner = Inner(scale=3.0),  # noqa: B008
    ):
        self.given = color, mode, inner, made


def test_old_names_and_values_of_keywords_are_read_with_a_warning(monkeypatch):
    name = f"{__name__}.Renamed"
    names = {"colour": "color", "rate": "inner.rate", "made_rate": "made.rate"}
    monkeypatch.setitem(moved.PARAMETERS, name, names)
    monkeypatch.setitem(moved.VALUES, name, {"mode": {"choices": "selected"}})
    with pytest.warns(DeprecationWarning, match="colour= is now color=;"):
        assert Renamed(colour=2.0).given[0] == 2.0  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match="mode='choices' is now 'selected';"):
        assert Renamed(mode="choices").given[1] == "selected"  # type: ignore[arg-type]
    with pytest.warns(DeprecationWarning, match=r"rate= is now inner\.rate=;"):
        assert Renamed(rate=0.25).given[2] == Inner(0.25)  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match=r"made_rate= is now made\.rate=;"):  # others stay
        assert Renamed(made_rate=0.25).given[3] == Inner(0.25, 3.0)  # type: ignore[call-arg]
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(BadInput, match="rate=-1: should be above 0"),
    ):
        Renamed(rate=-1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "setting",
    [
        {"num_members": 0},
        {"num_elites": 9},
        {"share": 1.5},
        {"scale": -1.0},
        {"widths": [2, 1]},
        {"lengths": [1]},
    ],
)
def test_python_and_the_command_line_use_the_same_words(mine, setting):  # noqa: F811
    from tests.config.parts import Limited

    write(mine, {"planner/limited": f"_target_: {HERE}.Limited"})
    with pytest.raises(BadInput) as caught:
        Limited(**setting)
    ((name, value),) = setting.items()
    typed = refused(mine, "planner=limited", f"planner.{name}={value}")
    assert typed == f"planner.{caught.value}"


def test_the_aliases_read_from_source_are_the_real_ones():
    import ast

    for name in ("Count", "CountOrZero", "Positive", "NonNegative", "Fraction", "Seed"):
        assert resolve(ast.Name(name), "mbrl.values") == getattr(values, name)


def test_arguments_by_position_beyond_those_there_are_refused():
    @checked
    def add(first: int, *, second: int = 0):
        return first + second

    assert add(1, second=2) == 3
    with pytest.raises(BadInput, match="add: too many positional arguments; there are first, sec"):
        add(1, 2)  # type: ignore[misc]
    with pytest.raises(TypeError, match="secnd: .*did you mean second"):
        add(1, secnd=2)  # type: ignore[call-arg]
