"""Locks: a second process is refused by name, and a dead one locks nothing."""

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
from mbrl.training.lock import Lock
from mbrl.training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys; from pathlib import Path; from mbrl.training.lock import Lock\n"
    "lock = Lock(Path(sys.argv[1]), 'x'); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """Return a process that holds the lock on tmp_path/.lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


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
