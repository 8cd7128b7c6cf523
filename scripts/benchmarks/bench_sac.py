"""Time a SAC update against Stable-Baselines3's, another build's and sbx's, turn by turn.

    python -m scripts.benchmarks.bench_sac [--hidden 64 128 256] [--rounds 21] [--updates 25]
        [--against DIR] [--sbx PYTHON]

An update is everything SB3's `SAC.train` does: sample the replay, then critics, temperature, actor
and targets. DIR is a checkout of another build, which this Python runs; PYTHON one that has sbx-rl
(JAX). Each side has a process on one thread. Prints medians, 5th and 95th percentiles of the CPU
milliseconds of an update, and medians of the ratios of turns; writes
results/benchmarks/sac_update.csv.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

if TYPE_CHECKING:
    from mbrl.types import Transitions

ROOT = Path(__file__).parents[2]
OBS_DIM, ACT_DIM, BATCH_SIZE, ROWS = 11, 3, 256, 50_000
OURS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "autograd": {"backward": "autograd"},
    "other": {},
}
Update = Callable[[int], object]


class Idle(gymnasium.Env):
    """Spaces and nothing else: SB3 asks for an environment."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACT_DIM,), np.float32)


def data() -> Transitions:
    import torch

    from mbrl.types import Transitions

    g = torch.Generator().manual_seed(0)
    obs = torch.randn(ROWS, OBS_DIM, generator=g)
    action = torch.rand(ROWS, ACT_DIM, generator=g) * 2 - 1
    next_obs = obs + 0.1 * torch.randn(ROWS, OBS_DIM, generator=g)
    terminated = torch.rand(ROWS, generator=g) < 0.01
    never = torch.zeros(ROWS, dtype=torch.bool)
    return Transitions(obs, action, -obs.norm(dim=1), next_obs, terminated, never, never.long())


def reference(hidden: int, learner: type) -> Update:
    """Return updates of SB3's SAC, or sbx's, with its replay buffer filled."""
    from stable_baselines3.common.logger import configure

    agent: Any = learner(
        "MlpPolicy",
        Idle(),
        buffer_size=ROWS,
        batch_size=BATCH_SIZE,
        policy_kwargs={"net_arch": [hidden, hidden]},
        device="cpu",
        seed=0,
    )
    agent.set_logger(configure(None, []))
    draws = np.random.default_rng(0)
    for _ in range(ROWS):
        obs = draws.standard_normal(OBS_DIM, np.float32)
        action = draws.uniform(-1, 1, ACT_DIM).astype(np.float32)
        near = obs + 0.1 * draws.standard_normal(OBS_DIM, np.float32)
        reward, terminated = -np.linalg.norm(obs), draws.random() < 0.01
        agent.replay_buffer.add(obs, near, action, reward, terminated, [{}])
    return lambda updates: agent.train(updates, BATCH_SIZE)


def ours(hidden: int, settings: dict[str, Any]) -> Update:
    """Return updates of this package's SAC, of whichever build is imported."""
    import torch

    import mbrl
    from mbrl.buffer import ReplayBuffer
    from mbrl.types import ActionSpec

    assert mbrl.__file__
    if (Path(mbrl.__file__).parent / "learners").exists():
        from mbrl.learners import SAC
    else:  # an older build
        from mbrl.agents import SAC  # pyright: ignore
    buffer = ReplayBuffer(ROWS, OBS_DIM, ACT_DIM)
    buffer.add(data())
    learner = SAC(
        obs_dim=OBS_DIM,
        action=ActionSpec("continuous", -torch.ones(ACT_DIM), torch.ones(ACT_DIM)),
        generator=torch.Generator().manual_seed(0),
        hidden=hidden,
        batch_size=BATCH_SIZE,
        **settings,
    )
    return lambda updates: learner.improve(buffer, num_updates=updates)


def worker(side: str, hidden: int, updates: int) -> None:
    """Update once to warm up, then at each line of standard input; print the CPU milliseconds."""
    if side == "sbx":
        from sbx import SAC  # pyright: ignore

        update = reference(hidden, SAC)
    else:
        import torch

        torch.set_num_threads(1)
        if side == "sb3":
            from stable_baselines3 import SAC

            update = reference(hidden, SAC)
        else:
            update = ours(hidden, OURS[side])
    update(updates)
    for _ in sys.stdin:
        start = time.process_time()
        update(updates)
        print((time.process_time() - start) / updates * 1e3, flush=True)


class Side:
    """A process that updates when it is asked to."""

    def __init__(self, side: str, python: str, build: Path, hidden: int, updates: int):
        arguments = ["--worker", side, "--hidden", str(hidden), "--updates", str(updates)]
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ
            | {"PYTHONPATH": str(build), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "JAX_PLATFORMS": "cpu"},
            text=True,
        )

    def ask(self) -> float:
        """Return the CPU milliseconds of an update."""
        assert self._process.stdin and self._process.stdout
        print(file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._process.args}: ended with {self._process.wait()}")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def measure(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of each turn, the sides taking turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side.ask())
    for side in sides.values():
        side.close()
    return times


def row(name: str, times: dict[str, list[float]]) -> str:
    """Return a side's median, percentiles, and how many times longer SB3 and the build take."""
    own = times[name]
    numbers = [f"{x:.3f}" for x in (statistics.median(own), *np.percentile(own, [5, 95]))]
    for peer in ("sb3", "other"):
        pairs = zip(times.get(peer, []), own, strict=False)
        ratios = [theirs / mine for theirs, mine in pairs]
        numbers.append(f"{statistics.median(ratios):.2f}" if ratios else "")
    return ",".join([name, *numbers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--updates", type=int, default=25, help="in a round")
    parser.add_argument("--against", type=Path, help="checkout of another build")
    parser.add_argument("--sbx", help="Python that has sbx-rl")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker, args.hidden[0], args.updates)
    mine = sys.executable, ROOT
    builds = {"sb3": mine, "autograd": mine, "fp32": mine, "bf16": mine}
    if args.against:
        builds["other"] = (sys.executable, args.against.resolve())
    if args.sbx:
        builds["sbx"] = (args.sbx, ROOT)
    lines = []
    for hidden in args.hidden:
        sides = {
            name: Side(name, *build, hidden, args.updates)
            for name, build in builds.items()
            if name != "bf16" or hidden >= 128  # else nothing is rounded
        }
        times = measure(sides, args.rounds)
        for name in sides:
            lines.append(f"{hidden},{row(name, times)}")
            print(lines[-1], flush=True)
    out = ROOT / "results" / "benchmarks" / "sac_update.csv"
    given = ["--rounds", str(args.rounds), *(["--against", "DIR"] if args.against else [])]
    given += ["--sbx", "PYTHON"] if args.sbx else []
    command = "# python -m scripts.benchmarks.bench_sac " + " ".join(given)
    if args.against:
        commit = ["git", "-C", str(args.against), "rev-parse", "--short", "HEAD"]
        other = subprocess.run(commit, capture_output=True, text=True).stdout.strip()
        command += f"  # other: {other}"
    header = "hidden,side,ms_per_update,percentile_5,percentile_95,times_sb3,times_other"
    out.write_text("\n".join([command, header, *lines]) + "\n")


if __name__ == "__main__":
    main()
