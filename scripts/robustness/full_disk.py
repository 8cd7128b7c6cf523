"""Fill the disk under a training run, give it space again, resume, and compare the ends.

python -m scripts.robustness.full_disk [--points 24] [--out results/robustness/full_disk.csv]
    (mounts a tmpfs: root)

Each run has a small file system of its own, with a little more space than the last one had: the
disk is full at another write each time. It must end with exit status 1 and one line, keep its last
good checkpoint, and end bit for bit as an unbroken run once there is space.
"""

import argparse
import contextlib
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from mbrl.errors import BadInput
from mbrl.training.run_folder import RunFolder
from scripts.robustness.kill_resume import CASES, ENVIRONMENT, ends, newest


def train(*arguments: str) -> tuple[int, str]:
    """Train; give exit status and what went to stderr."""
    command = [sys.executable, "-m", "mbrl", "train", *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    return done.returncode, done.stderr


@contextlib.contextmanager
def small_disk(size: int):
    """Mount a tmpfs of size bytes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/full_disk.csv"))
    options = parser.parse_args()
    arguments = CASES["mbpo"]
    rows, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        assert train(*arguments, f"run_dir={whole}")[0] == 0
        expected = ends(whole)
        room = sum(file.stat().st_size for file in whole.rglob("*")) * 1.6  # three checkpoints
    for point in range(options.points):
        space = 4096 * (1 + round(point * room / options.points / 4096))
        with small_disk(64 << 20) as disk:
            run = disk / "run"
            usable = (64 << 20) - space
            (disk / "ballast").write_bytes(bytes(usable))
            status, line = train(*arguments, f"run_dir={run}")
            at = newest(run)
            good = True
            if at:
                try:
                    RunFolder.open(run).load()
                except BadInput:
                    good = False
            (disk / "ballast").unlink()
            begun = (run / "config.yaml").exists()
            again = train(*(["--resume", str(run)] if begun else [*arguments, f"run_dir={run}"]))
            equal = again[0] == 0 and ends(run) == expected
        line = line.replace(str(disk), "DISK").strip()
        fits = status == 0
        named = fits or (status == 1 and line.count("\n") == 0 and "No space left" in line)
        if not (good and equal and named):
            failures.append(f"{space} bytes: {again[1] or line}")
        rows.append([space, status, at, "good" if good else "damaged",
                     "equal" if equal else "different", line])  # fmt: skip
        print(*rows[-1], sep="  ", flush=True)
    with options.out.open("w", newline="") as file:
        file.write(f"# python -m scripts.robustness.full_disk --points {options.points}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["free_bytes", "status", "last_checkpoint", "checkpoint", "end", "line"])
        writer.writerows(rows)
    full = sum(row[1] != 0 for row in rows)
    print("\n".join(failures) or f"{full} full disks, {len(rows) - full} that sufficed: all right")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
