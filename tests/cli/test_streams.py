"""Standard streams whose reader is gone: nothing is said, the command goes on."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl.cli.streams import readers_may_leave

ROOT = Path(__file__).parents[2]


def shell(line: str, **options) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $MBRL is the command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MBRL": f"{sys.executable} -m mbrl"}
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    "line, status",
    [
        ("$MBRL --help | head -1", 0),
        ("$MBRL train --help | true", 0),
        ("$MBRL trian 2>&1 | true", 2),
        ("$MBRL --help >&-", 0),
        ("$MBRL trian 2>&-", 2),
    ],
)
def test_a_closed_pipe_is_quiet_and_keeps_the_exit_status(line, status):
    done = shell(line)
    assert (done.returncode, done.stderr) == (status, "")


def test_a_full_disk_is_not_taken_for_a_closed_pipe():
    done = shell("$MBRL --help > /dev/full")
    assert done.returncode == 1 and done.stderr == "mbrl: No space left on device\n"


class Broken(io.StringIO):
    """Terminal or file whose writes fail."""

    def __init__(self, code: int, terminal: bool):
        super().__init__()
        self.code, self.terminal = code, terminal

    def isatty(self) -> bool:
        return self.terminal

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)

    def write(self, text: str) -> int:
        raise OSError(self.code, "no")


@pytest.mark.parametrize(
    "code, terminal, quiet",
    [
        (errno.EPIPE, False, True),
        (errno.EPIPE, True, True),
        (errno.EIO, True, True),  # a terminal that was closed
        (errno.EIO, False, False),  # a disk
        (errno.ENOSPC, False, False),
    ],
)
def test_only_readers_that_left_are_quiet(monkeypatch, code, terminal, quiet):
    before = Broken(code, terminal)
    monkeypatch.setattr(sys, "stdout", before)
    with readers_may_leave():
        if quiet:
            print("x")
        else:
            with pytest.raises(OSError, match="no"):
                print("x")
    assert sys.stdout is before


def test_a_command_works_with_closed_streams_and_with_an_encoding_that_lacks_its_letters():
    assert shell("$MBRL doctor env=pendulum <&- >&- 2>&-").returncode == 0
    refused = shell("$MBRL eval nowhere 2>&-")
    assert refused.returncode == 2 and refused.stdout == ""  # not in place of the result
    said = shell("PYTHONIOENCODING=ascii PYTHONUTF8=0 $MBRL eval n\u00e4her")
    assert said.returncode == 2 and said.stderr.count("\n") == 1 and said.stderr.isascii()


def test_a_result_with_letters_that_stdout_lacks_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with readers_may_leave():
        print("runs/n\u00e4her")
    assert raw.getvalue() == b"runs/n\\xe4her\n"


def test_a_current_folder_that_was_deleted_is_named(tmp_path):
    gone = tmp_path / "gone"
    said = shell(f"mkdir {gone} && cd {gone} && rmdir {gone} && $MBRL doctor")
    assert said.returncode == 2
    assert said.stderr == "mbrl: the current folder was deleted; change to another one\n"
