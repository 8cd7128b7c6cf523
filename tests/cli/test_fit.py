"""`mbrl fit` prints a table, and says in one line what is wrong."""

import json

import pytest

from mbrl.cli import main
from tests.test_recorded import write_pendulum


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_pendulum(tmp_path / "log.csv")


COLUMNS = ["obs=theta,omega", "action=torque", "time=t", "episode=run", "angle=theta"]


def test_models_are_compared_in_a_table(log, capsys):
    arguments = ["fit", "log.csv", *COLUMNS, "dynamics=least_squares", "run_dir=out", "--json"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("no change") for line in lines)
    assert any(line.startswith("least_squares") for line in lines)
    answer = json.loads(lines[-1])
    assert answer["run"] == "out" and [x["model"] for x in answer["models"]] == [
        "no change", "least_squares",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "DATA: a file or folder of recorded runs is missing"),
        (["log.csv", "--fast"], "--fast: unknown option"),
        (["log.csv", "observations=x"], "observations: unknown key"),
        (["log.csv", "obs="], "the value after = is missing"),
        (["none.csv", *COLUMNS], "none.csv"),
        (["log.csv", *COLUMNS, "rate=fast"], "rate"),
        (["log.csv", *COLUMNS, "dynamics=least_squares", "run_dir=log.csv"], "run_dir"),
    ],
)
def test_bad_input_is_one_line(log, capsys, arguments, words):
    assert main(["fit", *arguments]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and words in said[0]


def test_help_names_every_key(capsys):
    assert main(["fit", "--help"]) == 0
    said = capsys.readouterr().out
    for key in ("obs=", "angle=", "rate=", "action_shift=", "dynamics="):
        assert key in said
