# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
"""Environment steps a CPU second, and a second: `threads` against what else steps environments.

python -m scripts.benchmarks.bench_envs [--rounds 7] [--envs Hopper-v5 ...] [--num-envs 64 256]

Full observation, reward and reset everywhere, the same random actions: the framework's environments
with 1 and 2 threads, gymnasium's SyncVectorEnv and AsyncVectorEnv (8 copies; by CPU time neither
gains by more) and envpool, if it is installed (`pip install envpool`). Beside them bare
`mujoco.batch`: the same physics from the same states, but nothing is observed, paid or reset. All
take turns, one second each, for some rounds. CPU seconds are user and system time of this process
and all workers (read from /proc, so Linux only). Prints and writes medians of steps a CPU second
and a second, their spread, and the ratio of `threads` to each:
results/benchmarks/env_throughput.csv.
"""

import argparse
import csv
import gc
import importlib.util
import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from mujoco.batch import Batch

import mbrl

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks" / "env_throughput.csv"
IDS = ["Hopper-v5", "HalfCheetah-v5", "Humanoid-v5", "InvertedPendulum-v5"]
TICK = os.sysconf("SC_CLK_TCK")
COLUMNS = ("env", "num_envs", "vector", "steps_per_cpu_s", "lowest", "highest", "threads_times")
COLUMNS += ("steps_per_s", "threads_times_per_s")
Step = Callable[[np.ndarray], object]


def cpu_seconds(pids: list[int]) -> float:
    """Sum user and system time of this process and the given workers."""
    total = time.process_time()
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


class Rival:
    """One way to step environments, and what it reached in each round.

    Args:
        step: with actions (num_envs, act_dim).
        actions: (T, num_envs, act_dim), used again and again.
        pids: of processes that work for it.
    """

    def __init__(self, step: Step, actions: np.ndarray, pids: list[int] | None = None):
        """Store them; nothing is measured yet."""
        self._step, self._actions, self._pids = step, actions, pids or []
        self.per_cpu_second: list[float] = []
        self.per_second: list[float] = []

    def measure(self, seconds: float) -> None:
        """Step for some seconds and store the rates."""
        for action in self._actions[:3]:
            self._step(action)
        steps, began, clock = 0, cpu_seconds(self._pids), time.monotonic()
        while time.monotonic() - clock < seconds:
            for action in self._actions:
                self._step(action)
            steps += self._actions.shape[0] * self._actions.shape[1]
        self.per_cpu_second.append(steps / (cpu_seconds(self._pids) - began))
        self.per_second.append(steps / (time.monotonic() - clock))


def draw(space: Any, num_envs: int) -> np.ndarray:
    """Sample actions (T, num_envs, act_dim), about 2,000 in all."""
    shape = (max(4, 2048 // num_envs), num_envs, *space.shape)
    return np.random.default_rng(0).uniform(space.low, space.high, shape).astype(np.float32)


def threads(id: str, num_envs: int, num_threads: int, actions: np.ndarray) -> Rival:
    """Build the framework's environments."""
    env = mbrl.make_vec(id, num_envs=num_envs, num_threads=num_threads, seed=0)
    env.reset(0)
    return Rival(lambda action: env.step(torch.from_numpy(action)), actions)


def bare(id: str, num_envs: int, num_threads: int, actions: np.ndarray) -> Rival:
    """Build MuJoCo's own batch of the same model, which steps from the states of these episodes."""
    env: Any = mbrl.make_vec(id, num_envs=num_envs, seed=0)
    env.reset(0)
    simulation = env.simulation
    for t in range(100):  # until some have fallen and begun anew
        env.step(torch.from_numpy(actions[t % len(actions)]))
    states = []
    for action in actions:
        states.append(simulation.physics.state.copy())
        env.step(torch.from_numpy(action))
    batch = Batch(simulation.model, num_envs, num_threads)
    skip, at = simulation.equations.frame_skip, itertools.cycle(states)

    def step(action: np.ndarray) -> None:
        batch.state[:] = next(at)  # without it fallen bodies would lie there, at another cost
        batch.ctrl[:] = action
        batch.step(nstep=skip)

    return Rival(step, actions)


def gymnasiums(id: str, kind: str, space: Any) -> Rival:
    """Build gymnasium's vector environment of 8 copies."""
    env = gymnasium.make_vec(
        id,
        num_envs=8,
        vectorization_mode=kind,
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    env.reset(seed=0)
    return Rival(env.step, draw(space, 8), [p.pid for p in getattr(env, "processes", [])])


def envpools(id: str, num_envs: int, num_threads: int, actions: np.ndarray) -> Rival:
    """Build envpool's environments."""
    envpool = importlib.import_module("envpool")
    env = envpool.make(id, env_type="gymnasium", num_envs=num_envs, num_threads=num_threads, seed=0)
    env.reset()
    return Rival(env.step, actions.astype(np.float64))


def rivals(id: str, num_envs: int) -> dict[str, Rival]:
    """Build all ways to step an environment, by name."""
    space = gymnasium.make(id).action_space
    actions = draw(space, num_envs)
    found = {
        "threads, 1 thread": threads(id, num_envs, 1, actions),
        "bare mujoco.batch, 1 thread": bare(id, num_envs, 1, actions),
        "threads, 2 threads": threads(id, num_envs, 2, actions),
        "bare mujoco.batch, 2 threads": bare(id, num_envs, 2, actions),
        "SyncVectorEnv": gymnasiums(id, "sync", space),
        "AsyncVectorEnv": gymnasiums(id, "async", space),
    }
    if importlib.util.find_spec("envpool") is not None:
        found["envpool, 1 thread"] = envpools(id, num_envs, 1, actions)
    return found


def rows_of(id: str, num_envs: int, found: dict[str, Rival]) -> list[list[Any]]:
    """Return a row for each way: medians over rounds, of ratios within a round."""
    rows = []
    for name, rival in found.items():
        ours = found["threads, 2 threads" if name.endswith("2 threads") else "threads, 1 thread"]
        cpu, wall = (
            statistics.median(a / b for a, b in zip(mine, other, strict=True))
            for mine, other in (
                (ours.per_cpu_second, rival.per_cpu_second),
                (ours.per_second, rival.per_second),
            )
        )
        rates = rival.per_cpu_second
        rates = statistics.median(rates), min(rates), max(rates)
        wall_rate = round(statistics.median(rival.per_second))
        rows.append(
            [id, num_envs, name, *map(round, rates), round(cpu, 3), wall_rate, round(wall, 3)]
        )
    return rows


def main() -> None:
    """Measure all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--envs", nargs="+", default=IDS)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for id in options.envs:
        for num_envs in options.num_envs:
            found = rivals(id, num_envs)
            for _ in range(options.rounds):
                for rival in found.values():
                    rival.measure(options.seconds)
            rows += rows_of(id, num_envs, found)
            for row in rows[-len(found) :]:
                print(*row, sep="\t", flush=True)
            del found
            gc.collect()  # processes and threads of this environment
    with options.output.open("w", newline="") as file:
        file.write("# python -m scripts.benchmarks.bench_envs\n")
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
