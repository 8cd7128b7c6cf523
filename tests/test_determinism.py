"""The same seed gives the same run, and a killed run ends where an unbroken one does."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = [
    "agent=mbpo", "env=inverted_pendulum", "experiment=none", "total_steps=260", "save_every=40",
    "eval_every=130", "eval_episodes=2", "agent.learning_starts=60", "agent.retrain_interval=60",
    "agent.num_rollouts=500", "agent.updates_per_step=2", "learner.hidden=16", "env.num_envs=2",
    "dynamics.hidden=16", "dynamics.num_layers=2", "dynamics.training.min_updates=50",
    "dynamics.training.max_updates=100", "agent.rollout_length=[0,200,1,3]",
]  # fmt: skip


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mbrl", "train", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out


def digests(run: Path) -> dict[str, str]:
    last = sorted((run / "checkpoints").glob("[0-9]*"))[-1]
    names = [f"{p}.{e}" for p in ("agent", "buffer", "env") for e in ("safetensors", "json")]
    found = {n: hashlib.sha256((last / n).read_bytes()).hexdigest() for n in names}
    return {"step": last.name, **found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(*SMALL, f"run_dir={run}"))
    return run


def test_the_same_seed_twice_is_the_same_run(whole, tmp_path):
    finish(start(*SMALL, f"run_dir={tmp_path / 'twin'}"))
    assert digests(tmp_path / "twin") == digests(whole)
    finish(start(*SMALL, "seed=1", f"run_dir={tmp_path / 'other'}"))
    assert digests(tmp_path / "other")["agent.safetensors"] != digests(whole)["agent.safetensors"]


@pytest.mark.slow
def test_killed_five_times_it_ends_bit_for_bit_the_same(whole, tmp_path):
    """SIGKILL once a new checkpoint has been committed, five times in a row."""
    run = tmp_path / "broken"
    process = start(*SMALL, f"run_dir={run}")
    seen = ""
    for _ in range(5):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            saved = sorted(p.name for p in (run / "checkpoints").glob("[0-9]*"))
            if saved and saved[-1] > seen:
                seen = saved[-1]
                break
            time.sleep(0.005)
        assert process.poll() is None, "ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start("--resume", str(run))
    finish(process)
    assert digests(run) == digests(whole)
    rows = [(r / "metrics.jsonl").read_text().count("\n") for r in (whole, run)]
    assert rows[0] == rows[1]
