"""Every table of results/ is listed with a sentence, below a command that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOURS = {"mutants.csv"}  # takes too long to be there in every state of the code
ROOMS = sorted(path for path in (ROOT / "results").iterdir() if path.is_dir())


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_table_of_a_folder_is_listed_with_a_sentence(room):
    text = (room / "README.md").read_text()
    rows = re.findall(r"^\| \[(.*?)/?\]\((.*?)\) \| [A-Z].*\. \|$", text, re.MULTILINE)
    assert all(name == link for name, link in rows)
    listed = {name for name, _ in rows}
    there = {path.name for path in room.iterdir() if path.suffix == ".csv" or path.is_dir()}
    assert there <= listed and listed - there <= HOURS


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_table_begins_with_a_command_that_exists(room):
    for path in room.rglob("*.csv"):
        first = path.read_text().splitlines()[0]
        module = re.match(r"# python -m (scripts\.(\w+)\.\w+)", first)
        assert module and module[2] == room.name, f"{path}: {first}"
        file = ROOT.joinpath(*module[1].split(".")).with_suffix(".py")
        assert file.exists(), f"{path}: {first}"
        study = re.match(r"# python -m scripts\.experiments\.run (\w+)", first)
        assert not study or (ROOT / f"scripts/experiments/specs/{study[1]}.yaml").exists()
