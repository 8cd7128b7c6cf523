"""Kill a training run with SIGKILL at random moments, resume it, and compare the final weights.

python scripts/kill_resume.py [--kills 5] [--seed 0] [key=value ...]

Prints one line a kill and whether the last checkpoint equals that of an unbroken run, bit for bit.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = [
    "agent=mbpo", "env=inverted_pendulum", "experiment=none", "total_steps=700", "save_every=50",
    "eval_every=350", "eval_episodes=2", "agent.learning_starts=100", "agent.retrain_interval=100",
    "agent.num_rollouts=2000", "agent.updates_per_step=4", "learner.hidden=32",
    "dynamics.hidden=32", "dynamics.num_layers=2", "dynamics.max_updates=600",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mbrl", "train", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"exit status {process.returncode}: {process.args}")


def digests(run: Path) -> dict[str, str]:
    """Hash what learning left behind: agent, buffer and environment of the last checkpoint."""
    last = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    return {
        name: hashlib.sha256((last / name).read_bytes()).hexdigest()
        for part in ("agent", "buffer", "env")
        for name in (f"{part}.safetensors", f"{part}.json")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extra", nargs="*", help="key=value")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"

        def arguments(run: Path) -> list[str]:
            return [*SMALL, *options.extra, f"run_dir={run}"]

        began = time.monotonic()
        finish(start(*arguments(whole)))
        span = time.monotonic() - began
        print(f"unbroken run: {span:.1f} s", flush=True)
        process = start(*arguments(broken))
        for kill in range(options.kills):
            time.sleep(draws.uniform(0.15, 0.6) * span)
            alive = process.poll() is None
            if alive:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            saved = sorted(p.name for p in (broken / "checkpoints").glob("[0-9]*"))
            at = int(saved[-1]) if saved else 0
            print(f"kill {kill + 1}: {'killed' if alive else 'had ended'}, resumed from step {at}",
                  flush=True)  # fmt: skip
            begun = (broken / "config.yaml").exists()  # else killed before there was a run
            process = start("--resume", str(broken)) if begun else start(*arguments(broken))
        finish(process)
        a, b = digests(whole), digests(broken)
        rows = [(run / "metrics.jsonl").read_text().count("\n") for run in (whole, broken)]
        different = [name for name in a if a[name] != b[name]]
        print(f"rows of metrics: {rows[0]} unbroken, {rows[1]} broken")
        print(f"different: {different}" if different else "final state equal bit for bit")
        raise SystemExit(bool(different or rows[0] != rows[1]))


if __name__ == "__main__":
    main()
