"""Plan in the true simulator of every own environment, beside random actions.

    python -m scripts.experiments.simulator_mpc [--ids ID ...] [--seeds 2] [--steps 150]

Each cell plays one episode of at most --steps steps from the same start, with the planners' default
settings but fewer samples, one thread. Nothing is tuned for an environment. Rows that are in
results/experiments/simulator_mpc.csv already are kept, so that an interrupted run goes on.
"""

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mbrl.agents import MPC, Random
from mbrl.dynamics import Simulator
from mbrl.envs.registry import OWN, make_own
from mbrl.planners import ICEM, PredictiveSampling
from mbrl.roles import Agent, needed_env_state

OUT = Path("results/experiments/simulator_mpc.csv")
COLUMNS = ("id", "agent", "seed", "steps", "terminated", "return", "cpu_ms_per_step")
AGENTS = ("random", "icem", "predictive_sampling")


def agent_of(name: str, env: Any, seed: int) -> Agent:
    """Build an agent of that name for an environment."""
    if name == "random":
        return Random(action=env.action, generator=seed)
    planner = (
        ICEM(action=env.action, num_samples=30, num_iterations=4, warm_iterations=2)
        if name == "icem"
        else PredictiveSampling(action=env.action, num_samples=60)
    )
    model = Simulator(env=env)
    return MPC(action=env.action, dynamics=model, planner=planner, generator=seed)


def play(id: str, name: str, seed: int, steps: int) -> dict[str, Any]:
    """Play one episode; return its row."""
    env: Any = make_own(id, seed=seed)
    agent = agent_of(name, env, seed)
    obs, total, number, terminated = env.reset(), 0.0, 0, False
    began = time.process_time()
    while number < steps:
        step = env.step(agent.act(obs, explore=True, env_state=needed_env_state(agent, env)))
        obs, total, number = step.obs, total + step.reward.item(), number + 1
        terminated = bool(step.terminated.item())
        if terminated or step.truncated.item():
            break
    spent = 1e3 * (time.process_time() - began) / number
    env.close()
    values = (id, name, seed, number, int(terminated), f"{total:.6g}", f"{spent:.3g}")
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    """Play the cells that have no row yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", nargs="+", default=list(OWN), choices=list(OWN))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    done: set[tuple[str, ...]] = set()
    if arguments.out.exists():
        with arguments.out.open() as file:
            next(file)
            done = {(row["id"], row["agent"], row["seed"]) for row in csv.DictReader(file)}
    else:
        command = " ".join(["# python -m scripts.experiments.simulator_mpc", *sys.argv[1:]])
        arguments.out.write_text(f"{command}\n{','.join(COLUMNS)}\n")
    for id in arguments.ids:
        for seed in range(arguments.seeds):
            for name in AGENTS:
                if (id, name, str(seed)) in done:
                    continue
                row = play(id, name, seed, arguments.steps)
                with arguments.out.open("a") as file:
                    csv.writer(file, lineterminator="\n").writerow(row.values())
                print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
