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
    before = set(Path().iterdir())
    status = main(shlex.split(line))
    left = set(Path().iterdir()) - before
    for path in left:  # the next case begins as this one did
        shutil.rmtree(path)
    err = capsys.readouterr().err
    assert status == 2 and not left
    assert err.count("\n") == 1 and err.endswith("\n")
    assert words in err and "Traceback" not in err
