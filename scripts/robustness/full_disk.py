"""Fill the disk under a command, give it space again, repeat it, and compare the ends.

python -m scripts.robustness.full_disk [--points 24]
    (mounts a tmpfs: root)

Trainings, and a third as many of trainings with TensorBoard and W&B, of `mbrl collect`, `distill`
and `report`. Each has a small file system of its own, with a little more space than the last one
had: the disk is full at another write each time. It must end with exit status 1 and one line that
names a file. A training must keep its last good checkpoint, the others must leave their name free;
once there is space, the same command must end bit for bit as without a full disk. A row is added
when it is done, and the rows that are there are skipped.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mbrl.errors import BadInput
from mbrl.training.run_folder import RunFolder
from scripts.robustness.kill_resume import CASES, COMMANDS, Marks, ends, made, newest, start, warm
from scripts.robustness.tables import Table

DISK, PAGE = 64 << 20, 4096  # bytes
COLUMNS = ["command", "free_bytes", "status", "last_checkpoint", "left", "equal", "line"]
TRAININGS = {  # name in the table -> settings
    "train": CASES["mbpo"],
    "train, TensorBoard and W&B": [
        *CASES["random"], "logger.tensorboard=true", "logger.wandb=true", "log_every=1",
    ],
}  # fmt: skip


def call(marks: Marks, *arguments: str) -> tuple[int, str]:
    """Run a command; return its exit status and its lines on stderr."""
    _, status = os.waitpid(start(marks, *arguments), 0)
    lines = Path("log").read_text().splitlines()
    return os.waitstatus_to_exitcode(status), "\n".join(x for x in lines if x[:5] == "mbrl:")


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a small tmpfs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            # W&B's own process may still leave it
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, space: int) -> None:
    """Leave so many bytes free."""
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(bytes(max(0, free - space)))


def whole(run: Path) -> bool:
    """Return whether a run's newest checkpoint is good, or there is none."""
    try:
        RunFolder.open(run).load()
    except BadInput:
        return not newest(run)
    return True


def size(folder: Path) -> int:
    """Return the bytes that a folder's files take on a disk, in whole pages."""
    sizes = (file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def train(marks: Marks, name: str, space: int, expected: dict[str, object]) -> list[object]:
    """Train on a disk with so much space; return the row of the table."""
    with small_disk() as disk:
        run, arguments = disk / "run", ["train", *TRAININGS[name]]
        fill(disk, space)
        status, line = call(marks, *arguments, f"run_dir={run}")
        at, good = newest(run), whole(run)
        (disk / "ballast").unlink()
        begun = (run / "config.yaml").exists()
        again = ["train", "--resume", str(run)] if begun else [*arguments, f"run_dir={run}"]
        equal = call(marks, *again)[0] == 0 and ends(run) == expected
        words = line.replace(str(disk), "DISK")
    return [name, space, status, at, "good" if good else "damaged", equal, words]


def command(marks: Marks, name: str, space: int, expected: dict[str, object]) -> list[object]:
    """Run another command on a disk with so much space; return the row of the table."""
    source = Path("SOURCE").resolve()
    with small_disk() as disk, contextlib.chdir(disk):
        os.environ["MINARI_DATASETS_PATH"] = str(disk / "datasets")
        if name == "report":
            shutil.copytree(source, "out")
        Path("log").symlink_to(source.parent / "log")  # which has space
        fill(disk, space)
        arguments = [w.replace("{}", "out").replace("SOURCE", str(source)) for w in COMMANDS[name]]
        status, line = call(marks, *arguments)
        free = made(name, "out") is None
        Path("ballast").unlink()
        equal = call(marks, *arguments)[0] == 0 and made(name, "out") == expected
        words = line.replace(str(disk), "DISK").replace(str(source), "SOURCE")
    return [name, space, status, "", "free" if free else "taken", equal, words]


def trainings(marks: Marks, table: Table, points: int) -> None:
    """Add the rows of trainings; each has three checkpoints at its largest."""
    for name, settings in TRAININGS.items():
        assert call(marks, "train", *settings, "run_dir=whole")[0] == 0
        expected, room = ends(Path("whole")), size(Path("whole")) * 1.5
        shutil.rmtree("whole")
        number = points if name == "train" else max(2, points // 3)
        for space in spaces(room, number):
            if not table.has(name, str(space)):
                table.add(train(marks, name, space, expected))
                print(*table.rows[-1], sep="  ", flush=True)


def commands(marks: Marks, table: Table, points: int) -> None:
    """Add the rows of the other commands."""
    for name, words in COMMANDS.items():
        if name == "report":
            shutil.copytree("SOURCE", "out")
        assert call(marks, *(word.replace("{}", "out") for word in words))[0] == 0
        expected = made(name, "out")
        assert expected is not None
        made_in = {"collect": Path("datasets"), "distill": Path("out")}.get(name)
        room = size(made_in) if made_in else Path("out/report.html").stat().st_size
        shutil.rmtree("out", ignore_errors=True)
        for space in spaces(room, max(2, points // 3)):
            if not table.has(name, str(space)):
                table.add(command(marks, name, space, expected))
                print(*table.rows[-1], sep="  ", flush=True)


def spaces(room: float, number: int) -> list[int]:
    """Return numbers of bytes, up to a room."""
    return [PAGE * (1 + round(point * room / number / PAGE)) for point in range(number)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=24)
    options = parser.parse_args()
    line = f"python -m scripts.robustness.full_disk --points {options.points}"
    table = Table("full_disk", line, COLUMNS)
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    marks = Marks()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ |= {"MINARI_DATASETS_PATH": str(Path(folder, "datasets"))}
        os.environ |= {f"WANDB_{kind}_DIR": folder for kind in ("CONFIG", "CACHE", "DATA")}
        warm()
        assert call(marks, "train", *CASES["sindy_rl"], "run_dir=SOURCE")[0] == 0
        trainings(marks, table, options.points)
        commands(marks, table, options.points)
    wrong = [row for row in table.rows if not right(row)]
    full = sum(row[2] != "0" for row in table.rows)
    sufficed = len(table.rows) - full
    print(f"{full} full disks, {sufficed} that sufficed, {len(wrong)} wrong:", *wrong)
    raise SystemExit(bool(wrong))


def right(row: list[str]) -> bool:
    """Return whether a command did what it should; W&B's own line is one more."""
    _, _, status, _, left, equal, text = row
    lines = [line for line in text.splitlines() if "W&B failed" not in line]
    named = len(lines) == 1 and "No space left" in text and "/" in text
    return equal == "True" and left != "damaged" and (status == "0" or (status == "1" and named))


if __name__ == "__main__":
    main()
