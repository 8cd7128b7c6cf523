"""The list of robustness/bad_input.py in one process: one line, status 2, nothing left behind."""

import shlex
import shutil
from pathlib import Path

import pytest

from mbrl.cli import main
from scripts.robustness.bad_input import CASES, SLOW, TINY, prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        assert main(TINY.split()) == 0
        found = tmp_path_factory.mktemp("bad")
        prepare(found, Path("good"))
    return found


@pytest.mark.parametrize("line, words", [*CASES, *SLOW], ids=[line for line, _ in [*CASES, *SLOW]])
def test_bad_input_is_answered_in_one_line(folder, monkeypatch, capsys, line, words):
    monkeypatch.chdir(folder)
    assert main(shlex.split(line)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith("\n")
    assert words in err and "Traceback" not in err
    if Path("runs").exists():
        shutil.rmtree("runs")
        pytest.fail("something is left behind")
