"""The command line: which command is called, its exit status, one line for what is wrong."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import mbrl
from mbrl import cli, moved
from mbrl.cli import COMMANDS, main
from mbrl.errors import BadInput, OtherVersions

ROOT = Path(__file__).parents[2]

# bad input: the list of it is in scripts/robustness/bad_input.py, see test_bad_input.py


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "--help"], 0),
        (["train", "agent=mbpo", "dynamics=ensemble", "--help"], 0),
        (["eval", "--help"], 0),
        (["train", "agent=mpbo"], 2),
        (["train", "--env=toy", "learner.tau=2"], 2),
        (["eval", "nowhere"], 2),
    ],
)
def test_help_and_bad_input_import_no_torch(mine, tmp_path, arguments, status):
    if arguments[0] == "train":
        arguments = [*arguments, f"--config-dir={mine}"]
    code = (
        "import sys\nfrom mbrl.cli import main\ntry: status = main()\n"
        "except SystemExit as end: status = end.code\n"
        "assert not {'torch', 'numpy', 'rich'} & set(sys.modules), 'heavy'\nsys.exit(status)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == (1 if status else 0)
    assert bool(done.stdout) == (status == 0)


def test_the_usage_names_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dynaplan {mbrl.__version__}\n"


@pytest.fixture
def command(monkeypatch):
    """Return a function that puts another in the place of `mbrl doctor`."""

    def put(function):
        module = type("Module", (), {"main": staticmethod(function)})
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
        return lambda *arguments: main(["doctor", *arguments])

    return put


def test_a_command_gets_its_arguments_and_gives_the_status(command):
    got = []
    assert command(lambda arguments: got.append(arguments) or 7)("a", "--b") == 7
    assert got == [["a", "--b"]]


@pytest.mark.parametrize(
    "error, status, line",
    [
        (BadInput("a=1: two\n lines"), 2, "mbrl: a=1: two lines"),
        (KeyboardInterrupt(), 130, "mbrl: interrupted"),
        (OSError(errno.ENOSPC, "No space left", "run/x"), 1, "mbrl: run/x: No space left"),
    ],
)
def test_each_error_has_its_status_and_one_line(command, capsys, error, status, line):
    def fail(arguments):
        raise error

    assert command(fail)() == status
    assert capsys.readouterr().err == f"{line}\n"


def test_a_programming_error_is_not_hidden(command):
    with pytest.raises(ZeroDivisionError):
        command(lambda arguments: 1 // 0)()


@pytest.mark.parametrize(
    "name, hint", [("trian", "did you mean train?"), ("zzz", "choose from train, eval, ")]
)
def test_an_unknown_command_is_refused_with_what_was_meant(capsys, name, hint):
    assert main([name]) == 2
    assert f"mbrl: {name}: unknown command; {hint}" in capsys.readouterr().err


def test_each_old_name_is_warned_of_once_in_one_line(command, capsys):
    def old(arguments):
        moved.warn("a.b", "c.d")
        moved.warn("a.b", "c.d")
        moved.warn("e", "f")
        return 0

    assert command(old)() == 0
    assert capsys.readouterr().err.splitlines() == [
        f"mbrl: DeprecationWarning: {old} is now {new}; the old name works for one release"
        for old, new in (("a.b", "c.d"), ("e", "f"))
    ]


def test_other_versions_are_warned_of_in_one_line(command, capsys):
    assert (
        command(lambda arguments: warnings.warn(OtherVersions("a 1, here 2"), stacklevel=1) or 0)()
        == 0
    )
    assert capsys.readouterr().err == "mbrl: warning: a 1, here 2\n"


def test_other_warnings_are_shown_as_usual(command):
    with pytest.warns(UserWarning, match="another"):
        command(lambda arguments: warnings.warn("another", stacklevel=1) or 0)()
