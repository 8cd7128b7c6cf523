"""The library of choices: folders, files, labels and the names that were meant."""

import pytest
import yaml

from mbrl.config.library import CONFIGS, Library, gather, nearest, read_yaml
from mbrl.errors import BadInput
from tests.config.parts import write


def test_the_groups_are_those_of_train_yaml():
    library = Library()
    entries = yaml.safe_load((CONFIGS / "train.yaml").read_text())["defaults"]
    named = [next(iter(e)).removeprefix("optional ") for e in entries if isinstance(e, dict)]
    assert list(library.defaults) == named and library.defaults["agent"] == "mbpo"
    assert library.plain["total_steps"] == 5000 and "defaults" not in library.plain
    assert library.own_groups == () and library.folders == [CONFIGS]


def test_a_users_folder_adds_choices_and_groups(tmp_path):
    files = {"env/mine": "a: 1", "bonus/big": "b: 2", "sweep/tau": "c: 3"}
    library = Library(write(tmp_path, files))
    assert "mine" in library.choices("env") and "pendulum" in library.choices("env")
    assert library.choices("bonus") == ["big", "none"] and library.own_groups == ("bonus",)
    groups = list(library.defaults)
    assert groups.index("bonus") + 1 == groups.index("agent")  # before the agent, which takes it
    assert groups[-1] == "experiment" and "sweep" not in groups
    assert library.defaults["bonus"] == "none"


def test_files_are_found_and_read(tmp_path):
    library = Library(write(tmp_path, {"env/mine": "a: 1\n_target_: x.Y"}))
    assert library.file("env", "mine") == tmp_path / "env" / "mine.yaml"
    assert library.file("env", "pendulum") == CONFIGS / "env" / "pendulum.yaml"
    assert library.file("env", "nowhere") is None
    assert library.read("env", "mine") == {"a": 1, "_target_": "x.Y"}
    assert library.read("env", "nowhere") == {}


def test_choices_are_sorted_and_none_is_one_where_it_is_the_default():
    library = Library()
    assert library.choices("planner") == sorted(library.choices("planner"))
    assert "none" in library.choices("planner") and "none" not in library.choices("agent")


def test_providers_and_parts_are_listed_by_their_labels(tmp_path):
    files = {
        "planner/whole": "_target_: x.Y\n_provides_: [lines]",
        "planner/nested": "part: {_provides_: [lines, curves]}",
        "dynamics/other": "_target_: x.Y\n_provides_: [curves]",
    }
    library = Library(write(tmp_path, files))
    assert {"planner=nested", "planner=whole"} == set(library.providers("lines"))
    assert library.providers("nothing") == []
    assert "planner=whole" in library.parts("planner")
    assert "planner=nested" not in library.parts("planner")  # builds nothing


@pytest.mark.parametrize(
    "files, words",
    [
        (None, "--config-dir {}/none: no such folder"),
        ({"env/pendulum": "a: 1"}, "{}/env/pendulum.yaml: env/pendulum.yaml is a built-in choice"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, files, words):
    folder = tmp_path / "none" if files is None else write(tmp_path, files)
    with pytest.raises(BadInput) as caught:
        Library(folder)
    assert str(caught.value).startswith(words.format(tmp_path))


def test_yaml_is_read_with_the_line_of_what_is_wrong(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("")
    assert read_yaml(file) == {}
    file.write_text("a: 1\nb: é")
    assert read_yaml(file) == {"a": 1, "b": "é"}
    file.write_text("a: 1\nb: }")
    with pytest.raises(BadInput, match=r"a\.yaml, line 2: not readable as YAML"):
        read_yaml(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"a\.yaml: not readable as YAML"):
        read_yaml(file)


def test_labels_are_gathered_from_all_depths():
    node = {"_needs_": ["a"], "part": [{"_needs_": ["b"]}, {"x": {"_needs_": None}}, 3]}
    assert gather(node, "_needs_") == {"a", "b"}
    assert gather(3, "_needs_") == gather(None, "_needs_") == gather([], "_needs_") == set()


@pytest.mark.parametrize(
    "name, options, near",
    [
        ("tau", ["agent.tau", "learner.tau", "seed"], ["agent.tau", "learner.tau"]),
        ("learner.tua", ["agent.tau", "learner.tau"], ["learner.tau"]),  # of its own part
        ("learner.Tau", ["learner.tau"], ["learner.tau"]),
        ("mpbo", ["mbpo", "mopo", "sac"], ["mbpo"]),
        ("totl_steps", ["total_steps", "seed"], ["total_steps"]),
        ("gian", ["agent.gain"], ["agent.gain"]),  # without its group
        ("qqqq", ["agent.tau"], []),
        ("x", list("xxxx") + ["a.x", "b.x", "c.x"], ["x", "a.x", "b.x"]),  # three at most
        ("anything", [], []),
    ],
)
def test_the_nearest_name_is_the_one_that_was_meant(name, options, near):
    assert nearest(name, options) == near
