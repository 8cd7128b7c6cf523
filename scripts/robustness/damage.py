"""Flip bits in a checkpoint's files and cut them short; every one must be refused by name.

python -m scripts.robustness.damage [--number 300] [--seed 0] [--out results/robustness/damage.csv]

The checkpoint is that of a small MBPO run. Each file is damaged equally often, the manifest too.
A refusal counts if it names the damaged file, in one line, before anything is decoded.
"""

import argparse
import csv
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
        files = sorted(run.checkpoints()[-1].iterdir())
        for number in range(options.number):
            file = files[number % len(files)]
            good = file.read_bytes()
            how, bad = damage(good, draws)
            file.write_bytes(bad)
            try:
                run.load()
                verdict = "accepted"
            except BadInput as error:
                named = str(file) in str(error) and "\n" not in str(error)
                verdict = "refused by name" if named else f"refused: {error}"
            file.write_bytes(good)
            rows.append([file.name, how, verdict])
        assert run.load() is not None
    with options.out.open("w", newline="") as file:
        file.write(
            "# python -m scripts.robustness.damage "
            f"--number {options.number} --seed {options.seed}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["file", "damage", "verdict"], *rows])
    refused = sum(row[2] == "refused by name" for row in rows)
    print(f"{refused} of {len(rows)} damaged files refused by name")
    raise SystemExit(refused != len(rows))


if __name__ == "__main__":
    main()
