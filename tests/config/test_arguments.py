"""Grammar of arguments: every way to write a value."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl.config.arguments import parse_arguments, parse_value
from mbrl.errors import BadInput

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
WORDS = st.one_of(
    st.sampled_from(["/data/x=1", "a, b", "a b", "x=y=z", "runs/a-b_c.d", "a: b", "*", "50%"]),
    st.from_regex(r"[A-Za-z/][A-Za-z0-9/=,. :_@%-]{0,20}[a-z]", fullmatch=True),
).filter(lambda s: s.lower() not in ("none", "null", "true", "false", "inf", "infinity", "nan"))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    WORDS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@given(KEYS, WORDS, st.sampled_from(["", "--", "+", "++"]))
def test_every_prefix_means_the_same(key, text, prefix):
    assert parse_arguments([f"{prefix}{key}={text}"]) == [(key, text)]


@given(VALUES)
def test_values_survive_as_python_and_as_json_writes_them(value):
    assert parse_value(f"{value}") == value  # W&B's macros
    if not isinstance(value, str):
        assert parse_value(json.dumps(value)) == value


@given(st.text(min_size=1))
def test_any_text_is_a_value(text):
    parse_value(text)


@pytest.mark.parametrize(
    "text, value",
    [
        ("None", None),
        ("null", None),
        ("~", None),
        ("TRUE", True),
        ("1_000", 1000),
        ("010", 10),  # YAML 1.1 reads 8
        ("1:30", "1:30"),  # YAML 1.1 reads 90
        ("1e-3", 1e-3),  # YAML 1.1 reads a string
        ("-.5", -0.5),
        ("inf", math.inf),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("'7'", "7"),
        ('"null"', "null"),
        ("[1, None, 'a', 1e-3]", [1, None, "a", 1e-3]),
        ("[null, /data/x=1, [true]]", [None, "/data/x=1", [True]]),
        ("{a: 1, b: {c: x}}", {"a": 1, "b": {"c": "x"}}),
        ("['1', null]", ["1", None]),
        (str(["a\nb", "it's"]), ["a\nb", "it's"]),  # as Python prints it
        ("-Infinity", -math.inf),  # as JSON writes it
        ("[1, 2", "[1, 2"),
        ("'a' and b", "'a' and b"),
        ("a #b", "a #b"),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize("argument", ["seed", "--seed", "=3", "seed=", "--", ""])
def test_what_is_no_setting_is_refused(argument):
    with pytest.raises(BadInput, match="seed"):
        parse_arguments([argument])
