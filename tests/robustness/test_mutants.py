"""Mutants: what is edited and what is not, and that a test which notices is named."""

import subprocess

import pytest

from scripts.robustness import mutants as script

SOURCE = '''"""A module of 1 line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from x import y

LIMIT: "int | 3" = 5


class A:
    """Holds 2 things."""

    def __init__(self, size: int = 7):
        """Keep the size, 3 at most."""
        self.size = size
        if size > LIMIT:
            raise ValueError(f"{size + 1} should be at most {LIMIT - 1}", 1 < 2)

    def __repr__(self):
        return "A" * 2

    def both(self, x: float, y: float) -> tuple[float, float]:
        print(x + 1)
        assert x < 5
        self.size -= 2
        return max(x, y * 2.5), pow(x, y)
'''


def edits() -> set[tuple[str, str, str]]:
    return {(m.kind, m.before, m.after) for m in script.mutants(SOURCE, "a.py")}


def test_every_kind_of_edit_is_made_where_something_is_computed():
    assert edits() == {
        ("constant", "5", "(6)"),
        ("dropped statement", "self.size = size", "pass"),
        ("comparison", "size > LIMIT", "(size >= LIMIT)"),
        ("negated condition", "size > LIMIT", "(not size > LIMIT)"),
        ("arithmetic", "self.size -= 2", "self.size += 2"),
        ("dropped statement", "self.size -= 2", "pass"),
        ("constant", "2", "(3)"),
        ("arithmetic", "y * 2.5", "(y / 2.5)"),
        ("constant", "2.5", "(5.0)"),
        ("min or max", "max(x, y * 2.5)", "(min(x, y * 2.5))"),
        ("swapped arguments", "pow(x, y)", "(pow(y, x))"),
        ("returned value", "return max(x, y * 2.5), pow(x, y)",
         "return (pow(x, y), max(x, y * 2.5))"),
    }  # fmt: skip


def test_an_edit_replaces_its_own_characters_whatever_stands_before_it():
    source = "é = 'ü'; x = 2 * (a + b) ** 2\n"
    (mutant,) = [m for m in script.mutants(source, "a.py") if m.before == "a + b"]
    content = source.encode()
    changed = content[: mutant.start] + mutant.after.encode() + content[mutant.end :]
    assert changed.decode() == "é = 'ü'; x = 2 * ((a - b)) ** 2\n"


@pytest.fixture
def tree(tmp_path):
    files = {
        "mbrl/__init__.py": "",
        "mbrl/agents/__init__.py": "",
        "mbrl/agents/sums.py": "def add(x, y):\n    return x + y + 0\n\n\n"
        "def wait(x):\n    while x > 0:\n        x -= 1\n",
        "tests/agents/test_sums.py": "from mbrl.agents.sums import add, wait\n\n\n"
        "def test_sum():\n    assert add(1, 2) == 3\n\n\ndef test_wait():\n    wait(3)\n",
        "tests/agents/test_other.py": "",
        "tests/contracts/test_agent.py": "from mbrl.agents.sums import add\n\n\n"
        "def test_contract():\n    assert add(0, 0) == 0\n",
        "pyproject.toml": "[tool.pytest.ini_options]\nmarkers = ['slow', 'gpu']\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_module_is_tested_by_its_mirror_its_room_and_its_contract(tree):
    assert script.stages(tree, "mbrl/agents/sums.py") == [
        ["tests/agents/test_sums.py"],
        ["tests/agents"],
        ["tests/contracts/test_agent.py"],
    ]
    assert script.stages(tree, "mbrl/agents/none.py")[0] == ["tests/agents"]


def test_mutants_are_killed_by_the_test_that_fails_and_leave_the_tree_whole(tree, monkeypatch):
    found = {m.after: m for m in script.mutants((tree / "mbrl/agents/sums.py").read_text(),
                                                "mbrl/agents/sums.py")}  # fmt: skip
    source = (tree / "mbrl/agents/sums.py").read_text()
    killed = {}
    for after, seconds in (("(x - y)", 300), ("(x + y - 0)", 300), ("x += 1", 8)):
        limits = script.Limits()
        monkeypatch.setattr(limits, "of", lambda tree, tests, seconds=seconds: seconds)
        killed[after] = script.judged(found[after], tree, limits)[0]
    assert killed == {
        "(x - y)": "tests/agents/test_sums.py::test_sum",
        "(x + y - 0)": script.SURVIVED,
        "x += 1": "time limit",
    }
    assert (tree / "mbrl/agents/sums.py").read_text() == source


def test_code_that_fails_as_it_is_is_refused(tree):
    (tree / "tests/agents/test_other.py").write_text("def test_no():\n    assert False\n")
    with pytest.raises(SystemExit, match="test_other.py::test_no fails on the code as it is"):
        script.Limits().of(tree, ["tests/agents"])


def test_draws_repeat_and_share_rooms_alike(tree):
    (tree / "mbrl/learners").mkdir()
    (tree / "mbrl/learners/a.py").write_text(SOURCE)
    draws = [script.draw(tree, 6, seed, ["agents", "learners"]) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert [m.file.split("/")[1] for m in draws[0]] == ["agents", "learners"] * 3
    assert len(set(draws[0])) == 6


def test_a_copy_has_what_git_would_track(tree, tmp_path_factory):
    (tree / ".gitignore").write_text("*.tmp\n")
    (tree / "a.tmp").touch()
    subprocess.run(["git", "init", "-q", tree], check=True)
    copy = script.copied(tree, tmp_path_factory.mktemp("copy"))
    assert (copy / "mbrl/agents/sums.py").exists() and not (copy / "a.tmp").exists()
