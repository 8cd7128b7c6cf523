"""What the commands share: lines of errors, options, whole numbers."""

import argparse
from pathlib import Path

import pytest

from mbrl.cli.common import Parser, count, failed, reason, say
from mbrl.errors import BadInput
from mbrl.training.run_folder import RunFolder


def test_a_message_is_one_line_of_standard_error(capsys):
    assert say("two\n  lines", 3) == 3
    assert capsys.readouterr() == ("", "mbrl: two lines\n")


def test_a_failure_writes_the_traceback_and_one_line(tmp_path, capsys):
    run = RunFolder(tmp_path, {})
    try:
        raise ValueError("why\nnot")
    except ValueError as error:
        assert failed(run, error) == 1
    log = tmp_path / "error.log"
    assert capsys.readouterr().err == f"mbrl: ValueError: why not (traceback in {log})\n"
    assert log.read_text().startswith("Traceback") and "raise ValueError" in log.read_text()


def test_a_failure_is_told_though_the_log_cannot_be_written(tmp_path, capsys):
    assert failed(RunFolder(tmp_path / "gone", {}), ValueError("why")) == 1
    assert capsys.readouterr().err == "mbrl: ValueError: why\n"


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(28, "No space left", "a/b"), "a/b: No space left"),
        (OSError(28, "No space left"), "No space left"),
        (OSError("odd"), "OSError: odd"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_the_reason_of_an_error(error, words):
    assert reason(error) == words


def test_a_parser_raises_in_place_of_leaving():
    parser = Parser(prog="mbrl thing")
    parser.add_argument("--number", type=count(1))
    parser.add_argument("path", type=Path)
    assert parser.parse_args(["a", "--number", "3"]).number == 3
    with pytest.raises(BadInput, match=r"^thing: .*required: path; --help says more$"):
        parser.parse_args([])
    with pytest.raises(BadInput, match="--number: 0 should be a whole number from 1"):
        parser.parse_args(["a", "--number", "0"])


@pytest.mark.parametrize(
    "least, good, bad", [(0, ["0", "12"], ["-1", "1.5", "x", ""]), (2, ["2"], ["1"])]
)
def test_whole_numbers_from_a_least_one(least, good, bad):
    assert [count(least)(text) for text in good] == [int(text) for text in good]
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"whole number from {least}"):
            count(least)(text)
