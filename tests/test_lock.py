"""Locks: a second process is refused by name, and a dead one locks nothing."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl.errors import BadInput
from mbrl.lock import Lock, locked, new_folder
from mbrl.training.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
HOLD = (
    "import sys; from pathlib import Path; from mbrl.lock import Lock\n"
    "lock = Lock(Path(sys.argv[1]), 'x'); print('held', flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def holding(file: Path):
    """Run a process that holds the lock on a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def holder(tmp_path):
    """Return a process that holds the lock on tmp_path/.lock."""
    with holding(tmp_path / ".lock") as process:
        yield process


def test_a_second_process_is_refused_by_name_until_the_first_is_killed(tmp_path, holder):
    with pytest.raises(BadInput) as caught:
        Lock(tmp_path / ".lock", "runs/a")
    line = f"runs/a: in use by process {holder.pid} on {socket.gethostname()} since 20"
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    run = RunFolder(tmp_path, {})
    for use in (run.claim, run.resume, lambda: RunFolder.create(tmp_path, {})):
        with pytest.raises(BadInput, match=f"{tmp_path}: in use by process {holder.pid}"):
            use()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = Lock(tmp_path / ".lock", "runs/a")
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    lock.release()
    RunFolder.create(tmp_path, {})  # what a killed process leaves is no run


def test_a_run_folder_is_claimed_by_whoever_makes_it(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    code = f"{HOLD.partition('lock =')[0]}Lock(Path(sys.argv[1]), 'runs/a')"
    command = [sys.executable, "-c", code, str(run.path / ".lock")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"runs/a: in use by process {os.getpid()} on" in refused.stderr
    del run
    assert subprocess.run(command, env=environment, check=False).returncode == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 1, "since": 2}'])
def test_a_lock_whose_file_says_nothing_still_holds(tmp_path, holder, content):
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(BadInput, match="a: in use by another process; wait for it"):
        Lock(tmp_path / ".lock", "a")


def test_where_there_are_no_locks_a_line_says_so(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    Lock(tmp_path / ".lock", "runs/a")
    (line,) = caplog.messages
    assert line.startswith("runs/a: not locked ([Errno") and "no other process may" in line


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match=r"\.lock"):
        Lock(tmp_path / ".lock", "a")
    assert (tmp_path / "other").read_text() == "mine"


def nothing() -> None:
    """Check nothing."""


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "new"
    for error in (ValueError, KeyboardInterrupt, OSError):
        with pytest.raises(error), new_folder(path, nothing) as working:
            (working / "half").write_text("x")
            assert not path.exists()
            raise error
        assert list(path.parent.iterdir()) == []
    with new_folder(path, nothing) as working:
        (working / "file").write_text("x")
    assert [p.name for p in path.parent.iterdir()] == ["new"]
    assert [p.name for p in path.iterdir()] == ["file"]


def test_what_a_killed_block_has_left_is_cleared_and_the_old_folder_stays_until_the_end(tmp_path):
    path, stale = tmp_path / "run", tmp_path / ".run.new"
    for folder in (path, stale / "sub"):
        folder.mkdir(parents=True)
        (folder / "old").write_text("x")
    (stale / "link").symlink_to(path, target_is_directory=True)
    with new_folder(path, nothing) as working:
        assert [p.name for p in working.iterdir()] == [".lock"] and (path / "old").exists()
        (working / "new").write_text("x")
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "new"]


def test_a_new_folder_is_refused_if_it_may_not_be_used_or_another_process_writes_it(tmp_path):
    path = tmp_path / "new"

    def check() -> None:
        if path.exists():
            raise BadInput("already there")

    with pytest.raises(BadInput, match="already there"), new_folder(path, check):
        path.mkdir()  # by somebody else
    with pytest.raises(BadInput, match="already there"), new_folder(path, check):
        raise AssertionError("not reached")
    path.rmdir()
    working = tmp_path / ".new.new"
    working.mkdir()
    with holding(working / ".lock") as process:
        words = f"new: in use by process {process.pid}"
        with pytest.raises(BadInput, match=words), new_folder(path, check):
            raise AssertionError("not reached")
    with new_folder(path, check):
        pass
    assert path.is_dir()


def test_a_block_is_locked_and_its_file_removed(tmp_path):
    with locked(tmp_path / "x", "it"):
        assert (tmp_path / "x").exists()
    assert not (tmp_path / "x").exists()
