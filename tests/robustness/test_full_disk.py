"""The disk is full at the n-th write, for every n: one line, status 1, and the run can go on."""

import builtins
import errno
import hashlib
import io
from pathlib import Path

import pytest

from mbrl.cli import main
from mbrl.training.run_folder import RunFolder
from tests.config.parts import write

ARGUMENTS = [
    "train", "--config-dir=mine", "env=toy", "agent=gain", "total_steps=60", "save_every=20",
    "eval_every=30", "eval_episodes=1", "log_every=20", "run_dir=run",
]  # fmt: skip


class Disk:
    """Let a number of writes through; from then on each writes half of its bytes and fails."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.left: int | None = None
        self.writes = 0
        self._open = io.open
        patch.setattr(io, "open", self.open)
        patch.setattr(builtins, "open", self.open)

    def open(self, file, mode="r", *more, **options):
        opened = self._open(file, mode, *more, **options)
        if not set(mode) & set("wax+"):
            return opened
        whole, disk = opened.write, self

        class Full:
            def __init__(self):
                self.opened = opened

            def __getattr__(self, name):
                return getattr(self.opened, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.opened.close()

            def write(self, content):
                disk.writes += 1
                if disk.left is not None:
                    disk.left -= 1
                    if disk.left < 0:
                        whole(content[: len(content) // 2])
                        raise OSError(errno.ENOSPC, "No space left on device")
                return whole(content)

        return Full()


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Disk:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path / "mine",
        {
            "env/toy": "_target_: tests.toys.ToyEnv\nnum_envs: 1",
            "agent/gain": "_target_: tests.cli.parts.Gain",
        },
    )
    return Disk(monkeypatch)


def digests(run: Path) -> dict[str, str]:
    last = RunFolder.open(run).checkpoints()[-1]
    files = [f for f in last.iterdir() if f.stem in ("agent", "buffer", "env")]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_whichever_write_fails_the_run_goes_on_to_the_same_end(disk, tmp_path, capsys):
    assert main(ARGUMENTS) == 0
    number, expected = disk.writes, digests(Path("run"))
    assert number > 30
    statuses = []
    for allowed in range(number):
        folder = tmp_path / str(allowed)
        arguments = [*ARGUMENTS[:-1], f"run_dir={folder}"]
        capsys.readouterr()
        disk.left = allowed
        statuses.append(main(arguments))
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "No space left on device" in err, err
        assert str(folder) in err, err
        disk.left = None
        run = RunFolder(folder, {})
        saved = [int(p.name) for p in run.checkpoints()]
        run.check()  # what was committed is whole
        again = (
            ["train", "--resume", str(folder), "--trust"] if run.config_path.exists() else arguments
        )
        assert main(again) == 0
        assert digests(folder) == expected, f"after write {allowed}, resumed from {saved}"
    assert set(statuses) == {1}


def test_a_resume_needs_space_too(disk, capsys):
    assert main(ARGUMENTS) == 0
    disk.left = 0
    assert main(["train", "--resume", "run", "--trust", "total_steps=80"]) == 1
    err = capsys.readouterr().err
    assert "manifest.json: No space left on device" in err and err.count("\n") == 1
    assert RunFolder.open(Path("run")).config["total_steps"] == 60
    disk.left = None
    assert main(["train", "--resume", "run", "--trust", "total_steps=80"]) == 0


def test_tensorboard_on_a_full_disk_ends_the_run_in_one_line_and_a_resume_writes_it_anew(
    disk, monkeypatch, capsys
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mbrl.training.logger import TensorBoardSink

    log, full = TensorBoardSink.log, [40]

    def full_at(self, metrics, step):
        disk.left = 0 if step in full else None
        log(self, metrics, step)

    monkeypatch.setattr(TensorBoardSink, "log", full_at)
    assert main([*ARGUMENTS, "logger.tensorboard=true"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "tensorboard/events" in err and "No space left" in err
    disk.left = None
    full.clear()
    assert main(["train", "--resume", "run", "--trust"]) == 0
    read = EventAccumulator("run/tensorboard")
    read.Reload()
    assert {20, 40, 60} <= {event.step for event in read.Scalars("rollout/ep_rew_mean")}
