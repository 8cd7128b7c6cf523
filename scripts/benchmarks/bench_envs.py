# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
"""Environment steps a CPU second, and a second: `threads` against gymnasium's vector environments.

python -m scripts.benchmarks.bench_envs [--seconds 2] [--num-envs 256]

Full observation, reward and reset everywhere, the same random actions. CPU seconds are user and
system time of this process and all workers during the timed steps (read from /proc, so Linux only).
Prints ratios against the best AsyncVectorEnv and the best SyncVectorEnv of the same run; the latter
is the stronger rival by CPU time. Writes results/benchmarks/env_throughput.csv.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

import mbrl

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks" / "env_throughput.csv"
IDS = ["Hopper-v5", "HalfCheetah-v5", "InvertedPendulum-v5"]
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """Sum user and system time of this process and the given workers."""
    total = time.process_time()
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def rate(
    step: Callable[[np.ndarray], object], actions: np.ndarray, pids, seconds: float
) -> tuple[float, float]:
    """Return environment steps per CPU second and per second; actions (T, E, act_dim)."""
    for action in actions[:20]:
        step(action)
    steps, began, clock = 0, cpu_seconds(pids), time.monotonic()
    while time.monotonic() - clock < seconds:
        for action in actions:
            step(action)
        steps += actions.shape[0] * actions.shape[1]
    return steps / (cpu_seconds(pids) - began), steps / (time.monotonic() - clock)


def draw(space, num_envs: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (50, num_envs, *space.shape)
    return rng.uniform(space.low, space.high, shape).astype(np.float32)


def threads(id: str, num_envs: int, num_threads: int, seconds: float) -> tuple[float, float]:
    env = mbrl.make_vec(id, num_envs=num_envs, num_threads=num_threads, seed=0)
    env.reset(0)
    space = gymnasium.make(id).action_space
    found = rate(lambda a: env.step(torch.from_numpy(a)), draw(space, num_envs), [], seconds)
    env.close()
    return found


def peer(id: str, num_envs: int, kind: str, seconds: float) -> tuple[float, float]:
    env = gymnasium.make_vec(
        id,
        num_envs=num_envs,
        vectorization_mode=kind,
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    env.reset(seed=0)
    pids = [p.pid for p in getattr(env, "processes", [])]
    found = rate(env.step, draw(env.single_action_space, num_envs), pids, seconds)
    env.close()
    return found


def physics_alone(id: str, num_envs: int, seconds: float) -> tuple[float, float]:
    """The floor: mj_step on the same data, nothing read, nothing computed, nothing reset."""
    env: Any = mbrl.make_vec(id, num_envs=num_envs, seed=0)
    env.reset(0)
    simulation = env.simulation
    space = gymnasium.make(id).action_space

    def step(action: np.ndarray) -> None:
        for data, control in zip(simulation._data, action, strict=True):
            data.ctrl[:] = control
            mujoco.mj_step(simulation.model, data, simulation._task.frame_skip)

    return rate(step, draw(space, num_envs), [], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--num-envs", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for id in IDS:
        rates = {f"async {n}": peer(id, n, "async", options.seconds) for n in (2, 4, 8, 16)}
        best = [max(column) for column in zip(*rates.values(), strict=True)]
        sync = {f"sync {n}": peer(id, n, "sync", options.seconds) for n in (1, 8, 32)}
        best_sync = max(cpu for cpu, _ in sync.values())
        rates |= sync
        for count in (1, 2):
            name = f"threads {options.num_envs}, {count} thread{'s' * (count > 1)}"
            rates[name] = threads(id, options.num_envs, count, options.seconds)
        rates[f"mj_step alone {options.num_envs}"] = physics_alone(
            id, options.num_envs, options.seconds
        )
        rates["threads 1"] = threads(id, 1, 1, options.seconds)
        for name, (cpu, wall) in rates.items():
            ratios = [round(x, 2) for x in (cpu / best[0], cpu / best_sync, wall / best[1])]
            rows.append([id, name, round(cpu), *ratios[:2], round(wall), ratios[2]])
            print(
                f"{id:22} {name:24} {cpu:9.0f} steps/CPU s {ratios[0]:6.2f}x {ratios[1]:6.2f}x"
                f" {wall:9.0f} steps/s {ratios[2]:6.2f}x",
                flush=True,
            )
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        file.write("# python -m scripts.benchmarks.bench_envs\n")
        writer = csv.writer(file)
        writer.writerow(
            [
                "env",
                "vector",
                "steps_per_cpu_s",
                "times_async_per_cpu_s",
                "times_sync_per_cpu_s",
                "steps_per_s",
                "times_async_per_s",
            ]
        )
        writer.writerows(rows)


if __name__ == "__main__":
    main()
