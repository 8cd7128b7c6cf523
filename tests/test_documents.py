"""Documents of a stranger: aliases, depth and size are bounded."""

import time

import pytest

from mbrl.documents import YAML_LIMIT, Unreadable, parse_json, parse_yaml, plain, read_yaml
from mbrl.errors import BadInput

DOUBLED = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)
)


def test_ordinary_documents_are_read_as_before():
    assert parse_yaml("a: [1, 2.5, true, null]\nb: {c: text}\n") == {
        "a": [1, 2.5, True, None],
        "b": {"c": "text"},
    }
    assert parse_yaml("") is None
    assert parse_yaml("a: &x {y: 1}\nb: *x\nc: {<<: *x, z: 2}") == {
        "a": {"y": 1},
        "b": {"y": 1},
        "c": {"y": 1, "z": 2},
    }


@pytest.mark.parametrize(
    "text, words",
    [
        (DOUBLED, "aliases expanded"),
        ("&a [*a]", "within its own anchor"),
        ("&a {b: *a}", "within its own anchor"),
        ("[" * 30_000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ("- " * 30_000 + "x", "nested too deeply"),
        ("!!python/object/apply:os.system [x]", "not readable"),
        ("!!python/name:os.system", "not readable"),
        ("2020-99-99", "not readable"),
        ("!!int ''", "not readable"),
        ("9" * 5000, "not readable"),
        ("a\0b", "not readable"),
        ("a: b\n---\nc: d", "not readable"),
    ],
)
def test_what_is_too_large_or_no_data_is_refused_at_once(text, words):
    began = time.process_time()
    with pytest.raises(Unreadable, match=words):
        parse_yaml(text)
    assert time.process_time() - began < 5


def test_files_are_bounded_and_named(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("#" * (YAML_LIMIT + 1))
    with pytest.raises(BadInput, match=r"x\.yaml: .* bytes; should be at most"):
        read_yaml(file)
    file.write_text("a: 1\nb: [\n")
    with pytest.raises(BadInput, match=r"x\.yaml, line 3: not readable as YAML"):
        read_yaml(file)


@pytest.mark.parametrize("text", ["1: a", "{a: {? [b] : c}}", "a: 2020-01-01", "a: !!binary aGk=",
                                  "a: !!set {b}", f"a: {'9' * 25}"])  # fmt: skip
def test_plain_documents_hold_text_numbers_lists_and_mappings(text):
    with pytest.raises((BadInput, Unreadable)):
        plain(parse_yaml(text))
    assert plain({"a": [1, {"b": None}]}) == {"a": [1, {"b": None}]}


def test_json_is_bounded_too():
    assert parse_json('{"a": 1}') == {"a": 1}
    for text in ("[" * 100_000, "{", "9" * 5000):
        with pytest.raises(Unreadable):
            parse_json(text)


def test_a_key_that_stands_twice_is_refused_with_its_line():
    for text in ("a: 1\nb: 2\na: 3\n", "x: {c: 1,\n\n c: 2}"):
        with pytest.raises(Unreadable, match="the key [ac] stands twice") as caught:
            parse_yaml(text)
        assert caught.value.line == 3
