"""A transition filter inside MPC, outside the data: a swing-up with torques never seen.

python -m scripts.experiments.filter_mpc [--seeds 200 201 202] [--out
    results/experiments/filter_mpc.csv]

The data are those of reward_consistency.py's pendulum: 5,000 transitions of hanging rods, torques
up to 0.7. One ensemble is fitted to them and never again; iCEM plans with torques up to 2 in the
ensemble, in the ensemble filtered by the Christoffel reward (wide candidates; nothing is stopped:
outside the data a calibrated threshold would stop everything), in a polynomial alone, and in the
true equations. The return is the mean of --episodes episodes of Pendulum-v1, 200 steps each, on the
same starts; CPU seconds are of planning.
"""

import argparse
import csv
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mbrl.agents import MPC
from mbrl.dynamics import (
    CandidateGenerator,
    ChristoffelReward,
    GaussianEnsemble,
    RandomReward,
    RewardConsistent,
)
from mbrl.dynamics.simulator import Simulator
from mbrl.envs import pendulum
from mbrl.planners import ICEM
from mbrl.roles import Dynamics, needed_env_state
from scripts.experiments.reward_consistency import ENSEMBLE
from scripts.experiments.reward_consistency_tasks import TASKS

PLANNER: dict[str, Any] = {
    "horizon": 20, "num_samples": 60, "num_elites": 8, "num_iterations": 4, "warm_iterations": 2,
    "color": 2.0, "action_hold": 2, "num_particles": 1,
}  # fmt: skip


def make_models(seed: int, generator: torch.Generator) -> dict[str, Dynamics]:
    """Fit one ensemble, and what filters it."""
    data = TASKS["pendulum"](seed, generator).data
    env = pendulum(num_envs=1, seed=seed)
    shape: dict[str, Any] = {"obs_dim": env.obs_dim, "action": env.action, "task": env.task}
    base = GaussianEnsemble(**shape, generator=generator, reward="known", **ENSEMBLE)
    base.fit(data, generator=generator)
    generators = {
        kind: CandidateGenerator(**shape, generator=generator, kind=kind)
        for kind in ("wide", "polynomial")
    }
    generators["polynomial"].fit(data, with_holdout_ensemble=True, generator=generator)
    generators["wide"].holdout_ensemble = generators["polynomial"].holdout_ensemble
    dynamics_reward = ChristoffelReward(obs_dim=env.obs_dim, action=env.action)
    dynamics_reward.fit(
        data, base, holdout_ensemble=generators["wide"].holdout_ensemble, generator=generator
    )
    parts: Any = {**shape, "base": base, "generator": generator, "stop_rate": 0.0}
    return {
        "ensemble": base,
        "christoffel, wide": RewardConsistent(
            **parts, dynamics_reward=dynamics_reward, candidates=generators["wide"]
        ),
        "polynomial alone": RewardConsistent(
            **parts, dynamics_reward=RandomReward(env.obs_dim), candidates=generators["polynomial"]
        ),
        "true equations": Simulator(env=env),
    }


def play(model: Dynamics, seed: int, episodes: int) -> tuple[list[float], float]:
    """Return the return of each episode, and the CPU seconds of planning."""
    env = pendulum(num_envs=episodes, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    agent = MPC(
        action=env.action,
        dynamics=model,
        planner=ICEM(action=env.action, **PLANNER),
        generator=generator,
    )
    obs, total, spent = env.reset(1_000_000 + seed), torch.zeros(episodes), 0.0
    for _ in range(200):
        began = time.process_time()
        action = agent.act(obs, explore=False, env_state=needed_env_state(agent, env))
        spent += time.process_time() - began
        step = env.step(action)
        obs, total = step.obs, total + step.reward
    return total.tolist(), spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[200, 201, 202])
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/experiments/filter_mpc.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    if options.out.exists():
        lines = options.out.read_text().splitlines()
        rows = list(csv.reader(line for line in lines if not line.startswith("#")))[1:]
    for seed in options.seeds:
        if any(int(row[0]) == seed for row in rows):
            continue
        for name, model in make_models(seed, torch.Generator().manual_seed(seed)).items():
            returns, spent = play(model, seed, options.episodes)
            each = " ".join(f"{value:.0f}" for value in returns)
            rows.append([seed, name, f"{statistics.mean(returns):.1f}", f"{spent:.1f}", each])
            print(*rows[-1], flush=True)
        with options.out.open("w", newline="") as file:
            file.write(f"# python -m scripts.experiments.filter_mpc {shlex.join(sys.argv[1:])}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([["seed", "model", "mean_return", "cpu_seconds", "each"], *rows])


if __name__ == "__main__":
    main()
