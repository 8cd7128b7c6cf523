"""Versions of a run: what differs is said in one line, what does not matter is not."""

import json

import pytest

from mbrl.errors import OtherVersions
from mbrl.training.versions import current_versions, warn_of_other_versions


@pytest.fixture
def saved(tmp_path):
    """Write a versions.json: the present versions with some changed, None removes one."""

    def write(**changes):
        versions = {**current_versions(), **changes}
        kept = {name: value for name, value in versions.items() if value is not None}
        (tmp_path / "versions.json").write_text(json.dumps(kept))
        return tmp_path / "versions.json"

    return write


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"platform": "another kernel"},
        {"python": current_versions()["python"] + "9"},  # a patch
        {"pysindy": None, "machine": None},  # was not there, or not yet written
        {"unheard": "1"},
    ],
)
def test_what_does_not_matter_is_not_said(saved, recwarn, changes):
    warn_of_other_versions(saved(**changes), "so")
    assert not recwarn.list


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"python": "3.9.1"}, "made with python 3.9.1; here: python 3"),
        ({"machine": "Darwin arm64"}, "made with machine Darwin arm64; here: machine "),
        ({"torch": "1.0", "numpy": "1.2"}, "made with torch 1.0, numpy 1.2; here: torch "),
        ({"dynaplan": "0.0"}, "made with dynaplan 0.0; here: dynaplan "),
        ({"gymnasium": "0.29"}, "gymnasium 0.29"),
        ({"mujoco": "2.3"}, "mujoco 2.3"),
    ],
)
def test_what_differs_is_said_in_one_line(saved, changes, said):
    file = saved(**changes)
    with pytest.warns(OtherVersions) as caught:
        warn_of_other_versions(file, "results may differ")
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(f"{file.parent}: ") and said in message
    assert message.endswith("; results may differ") and "\n" not in message


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"[1]", b"{"])
def test_a_file_that_says_nothing_is_named(tmp_path, content):
    file = tmp_path / "versions.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.warns(
        OtherVersions, match="versions.json: missing or damaged, so versions are not"
    ):
        warn_of_other_versions(file, "results may differ")
