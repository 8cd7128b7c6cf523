"""Control with uncertain physics: plans in the nominal simulator beside plans for 16 draws.

    python -m scripts.experiments.uncertain_physics [--sets 50] [--num-threads 2]

Cart-pole swing-up; masses, strength of the motor and a delay of its controls differ from episode to
episode and are hidden. The same iCEM plans in the simulator with

- nominal: the model's own parameters;
- mean, cvar: 16 draws from the ranges, by their mean return, or that of the worst quarter;
- known: the episode's own parameters, which bounds what can be reached;
- nominal_16: as nominal, with 16 times the samples: the same work as 16 draws.

One episode for each of the hidden sets, which all methods share. Rows in
results/experiments/uncertain_physics.csv are kept, so that an interrupted run goes on; the summary
prints means with intervals of 95% over sets, also of the difference to nominal in pairs.
"""

import argparse
import csv
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from mbrl.agents import MPC
from mbrl.dynamics import Simulator
from mbrl.envs import mujoco_env
from mbrl.envs.tasks import CartpoleSwingup
from mbrl.planners import ICEM
from mbrl.roles import needed_env_state

OUT = Path("results/experiments/uncertain_physics.csv")
RANGES = {"body_mass": [0.5, 2.0], "actuator_gain": [0.6, 1.4], "delay": [0.0, 0.08]}
COLUMNS = ("method", "set", *RANGES, "return", "cpu_seconds")
SAMPLES = 16
METHODS: dict[str, dict[str, Any]] = {
    "nominal": {"parameters": "nominal"},
    "known": {"parameters": "episode"},
    "nominal_16": {"parameters": "nominal", "num_samples": 16 * SAMPLES},
    "mean": {"parameters": "drawn", "num_particles": 16},
    "cvar": {"parameters": "drawn", "num_particles": 16, "risk": 0.25},
}


def play(method: str, num_sets: int, num_threads: int) -> list[list[Any]]:
    """Play an episode of each hidden set; return its rows."""
    settings = dict(METHODS[method])
    env: Any = mujoco_env(
        CartpoleSwingup(frame_skip=4),
        num_envs=num_sets,
        seed=0,
        num_threads=num_threads,
        randomize=RANGES,
    )
    model = Simulator(env=env, parameters=settings.pop("parameters"), generator=1)
    planner = ICEM(
        action=env.action,
        horizon=10,
        action_hold=2,
        num_iterations=3,
        warm_iterations=1,
        **{"num_samples": SAMPLES, **settings},
    )
    agent = MPC(action=env.action, dynamics=model, planner=planner, generator=2)
    obs, total, began = env.reset(), torch.zeros(num_sets), time.process_time()
    hidden = env.env_state()[:, -len(RANGES) :]
    for _ in range(env.max_episode_steps):
        action = agent.act(obs, explore=True, env_state=needed_env_state(agent, env))
        step = env.step(action)
        obs, total = step.obs, total + step.reward
    spent = (time.process_time() - began) / num_sets
    return [
        [method, i, *(f"{v:.4f}" for v in hidden[i]), f"{total[i]:.1f}", f"{spent:.1f}"]
        for i in range(num_sets)
    ]


def interval(values: list[float]) -> str:
    """Return a mean with its interval of 95%."""
    half = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.1f} +- {half:.1f}"


def main() -> None:
    """Run what is missing, write the table and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=50)
    parser.add_argument("--num-threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUT)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    if options.output.exists():
        with options.output.open(newline="") as file:
            rows = list(csv.reader(line for line in file if not line.startswith("#")))[1:]
    for method in options.methods:
        if method not in {row[0] for row in rows}:
            rows += play(method, options.sets, options.num_threads)
            with options.output.open("w", newline="") as file:
                file.write("# python -m scripts.experiments.uncertain_physics\n")
                csv.writer(file).writerows([COLUMNS, *rows])
    returns = {m: [float(r[-2]) for r in rows if r[0] == m] for m in METHODS}
    for method, values in returns.items():
        if values:
            apart = [a - b for a, b in zip(values, returns["nominal"], strict=True)]
            print(
                f"{method:10} {interval(values)}, lowest {min(values):.1f}; less nominal: "
                f"{interval(apart)}; {rows[[r[0] for r in rows].index(method)][-1]} CPU s each"
            )


if __name__ == "__main__":
    main()
