"""Environment steps a second on a GPU: `backend=warp` beside `backend=threads` on the same machine.

python -m scripts.benchmarks.bench_warp [--minutes 8] [--envs Hopper-v5 ...] [--num-envs 1024 ...]
python -m scripts.benchmarks.bench_warp --quick    (on the CPU, tiny: only to see that it works)

Full steps with observation, reward, ends and restarts; random actions that are there beforehand;
256 steps first, so that the episodes are of mixed ages. `threads` has a thread for each core. Of
`warp`, also the bare physics (the graph of frame_skip simulation steps), the seconds until the
first step, kernels compiled where they are not kept yet, the bytes of a world, and how many
episodes diverged. Several rounds; the median and the spread are printed and written to
results/benchmarks/warp.csv after each row, so that a run that is cut short leaves what it has.
What does not fit in the minutes is named and left out. Humanoid: `warp` solves by Newton's method,
`threads` by the model's PGS.
"""

import argparse
import csv
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import mbrl
from mbrl.cli.machine import num_cores
from mbrl.envs import WarpVecEnv
from mbrl.envs.warp_physics import free_memory

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks" / "warp.csv"
IDS = ["Hopper-v5", "HalfCheetah-v5", "Humanoid-v5"]
SIZES = [8192, 1024, 4096, 16384]  # the one that is asked for first
COLUMNS: tuple[str, ...] = (
    "device",
    "env",
    "num_envs",
    "backend",
    "steps_per_s",
    "lowest",
    "highest",
)
COLUMNS += ("threads_times", "physics_per_s", "first_step_s", "kb_per_world", "diverged")
ACTIONS = 32  # steps of random actions, used again and again


class Settings(NamedTuple):
    """How long each row is measured."""

    device: torch.device
    seconds: float  # of a round
    rounds: int
    warm_up: int  # steps before the first round


def rate(step: Callable[[int], object], num_envs: int, settings: Settings) -> list[float]:
    """Return environment steps a second of each round."""
    rates = []
    for _ in range(settings.rounds):
        wait(settings.device)
        start, number = time.perf_counter(), 0
        while time.perf_counter() - start < settings.seconds:
            for _ in range(8):
                step(number)
                number += 1
            wait(settings.device)  # or the queue would grow beyond the round
        rates.append(number * num_envs / (time.perf_counter() - start))
    return rates


def wait(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(id: str, num_envs: int, backend: str, settings: Settings) -> dict[str, Any]:
    """Return a row of the table."""
    on = settings.device
    free, start = free_memory(on), time.perf_counter()
    options: dict[str, Any] = {"device": on}
    if backend == "threads":  # its tensors go to the device, as a learner there needs them
        options["num_threads"] = num_cores()
    env = mbrl.make_vec(id, num_envs, backend=backend, seed=0, **options)  # type: ignore[arg-type]
    draws = torch.Generator(on).manual_seed(0)
    actions = [env.action.sample(num_envs, generator=draws) for _ in range(ACTIONS)]
    env.reset()
    env.step(actions[0])
    wait(on)
    row: dict[str, Any] = {"first_step_s": round(time.perf_counter() - start, 1)}
    row["kb_per_world"] = round((free - free_memory(on)) / num_envs / 1e3, 1)
    for number in range(settings.warm_up):
        env.step(actions[number % ACTIONS])
    rates = rate(lambda number: env.step(actions[number % ACTIONS]), num_envs, settings)
    row |= {"lowest": min(rates), "steps_per_s": statistics.median(rates), "highest": max(rates)}
    if isinstance(env, WarpVecEnv):
        row["diverged"] = env.num_diverged
        physics = rate(lambda number: env._physics.step(), num_envs, settings)
        row["physics_per_s"] = statistics.median(physics)
    else:
        del row["kb_per_world"]
    env.close()
    return row


def name_of(device: torch.device) -> str:
    """Return the name of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--envs", nargs="+", default=IDS)
    parser.add_argument("--num-envs", nargs="+", type=int, default=SIZES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny, on the CPU; writes nothing")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    settings = Settings(torch.device(given.device), given.seconds, given.rounds, 256)
    out = given.out or RESULTS
    if given.quick:
        settings, out = Settings(torch.device("cpu"), 0.05, 2, 4), given.out
        given.envs, given.num_envs = ["InvertedPendulum-v5"], [2, 5]
    end, rows = time.perf_counter() + 60 * given.minutes, []
    for num_envs in given.num_envs:
        for id in given.envs:
            for backend in ("threads", "warp"):
                if time.perf_counter() > end:
                    print(f"no time left for {id} {num_envs} {backend}")
                    continue
                key = {"device": name_of(settings.device), "env": id, "num_envs": num_envs}
                row = {**key, "backend": backend, **measure(id, num_envs, backend, settings)}
                if backend == "threads":
                    threads = row["steps_per_s"]
                row["threads_times"] = round(row["steps_per_s"] / threads, 2)
                rows.append({name: rounded(row.get(name, "")) for name in COLUMNS})
                print(*(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
                write(out, rows)


def rounded(value: Any) -> Any:
    """Return rates as whole numbers."""
    return round(value) if isinstance(value, float) and value > 100 else value


def write(out: Path | None, rows: list[dict[str, Any]]) -> None:
    """Write the table, if it is to be kept."""
    if out is not None:
        with out.open("w", newline="") as file:
            command = shlex.join(["python", "-m", "scripts.benchmarks.bench_warp", *sys.argv[1:]])
            file.write(f"# {command}\n")
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
