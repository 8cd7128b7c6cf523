"""Flip bits in the newest checkpoint's files and cut them short; the one before must be used.

python -m scripts.robustness.damage [--number 300] [--seed 0] [--out results/robustness/damage.csv]

The checkpoint is that of a small MBPO run. Each file is damaged equally often, the manifest too.
A fallback counts if one line names the damaged file and the step that is used, and what is loaded
is the checkpoint before. At the end both checkpoints are damaged, which must be refused by name.
"""

import argparse
import csv
import logging
import random
import tempfile
from pathlib import Path

from mbrl.cli import main as mbrl
from mbrl.errors import BadInput
from mbrl.training.run_folder import RunFolder
from scripts.robustness.kill_resume import CASES


def damage(content: bytes, draws: random.Random) -> tuple[str, bytes]:
    """Flip one bit, or cut bytes off the end."""
    if draws.random() < 0.5:
        length = draws.randrange(len(content))
        return f"cut to {length} of {len(content)} bytes", content[:length]
    at, bit = draws.randrange(len(content)), draws.randrange(8)
    bad = bytearray(content)
    bad[at] ^= 1 << bit
    return f"bit {bit} of byte {at}", bytes(bad)


def answer(path: Path, file: Path, step: int) -> str:
    """Return what loading a run does whose newest checkpoint has a damaged file."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("mbrl.training.run_folder")
    logger.addHandler(handler)
    try:
        state = RunFolder.open(path).load()
    except BadInput as error:
        return f"refused: {error}"
    finally:
        logger.removeHandler(handler)
    if state is None or state["loop"]["progress"]["step"] != step:
        return "accepted"
    named = len(lines) == 1 and str(file) in lines[0] and f"of step {step}" in lines[0]
    return "named, the one before is used" if named else f"not named: {lines}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/damage.csv"))
    options = parser.parse_args()
    draws = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        assert mbrl(["train", *CASES["mbpo"], f"run_dir={path}"]) == 0
        run = RunFolder.open(path)
        step = int(run.checkpoints()[-2].name)
        files = sorted(run.checkpoints()[-1].iterdir())
        for number in range(options.number):
            file = files[number % len(files)]
            good = file.read_bytes()
            how, bad = damage(good, draws)
            file.write_bytes(bad)
            rows.append([file.name, how, answer(path, file, step)])
            file.write_bytes(good)
        assert RunFolder.open(path).load() is not None
        newest = run.checkpoints()[-1]
        for each in run.checkpoints():
            (each / "agent.json").write_bytes(b"{}")
        try:
            RunFolder.open(path).load()
            raise SystemExit("two damaged checkpoints were accepted")
        except BadInput as error:
            assert str(newest / "agent.json") in str(error) and "\n" not in str(error)
    with options.out.open("w", newline="") as file:
        file.write(
            "# python -m scripts.robustness.damage "
            f"--number {options.number} --seed {options.seed}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["file", "damage", "verdict"], *rows])
    right = sum(row[2] == "named, the one before is used" for row in rows)
    print(f"{right} of {len(rows)} damaged files named, and the checkpoint before them used")
    raise SystemExit(right != len(rows))


if __name__ == "__main__":
    main()
