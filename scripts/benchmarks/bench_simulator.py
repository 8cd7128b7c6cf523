# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
"""Planning on the true simulator: returns of whole episodes, and plans per second.

python -m scripts.benchmarks.bench_simulator [--episodes 5] [--plans 8]

Episodes are those of `mbrl train agent=pets dynamics=simulator env=ENV [planner=...]`, each one
printed. Plans per CPU second are of plans that start from the one before, next to the same planner
on a plain Python loop of mj_step that scores the same candidates step by step with floats; the two
take turns. Wall seconds are also given for two threads. Writes results/benchmarks/simulator.csv.
"""

import argparse
import csv
import math
import statistics
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from mbrl.config import build, compose
from mbrl.training.evaluation import evaluate
from mbrl.types import Prediction

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks" / "simulator.csv"
SAMPLING = ["planner=predictive_sampling"]
EPISODES = [
    ("cartpole_swingup", []),
    ("halfcheetah", SAMPLING),
    ("hopper", [*SAMPLING, "planner.horizon=50", "planner.action_hold=2"]),
]


def cartpole(before: list[float], action: list[float], after: list[float]) -> tuple[float, bool]:
    x, angle, spin, width = after[0], after[1], after[3], math.sqrt(-2 * math.log(0.1))
    upright = (math.cos(angle) + 1) / 2
    centred = (1 + math.exp(-0.5 * (x / 2 * width) ** 2)) / 2
    slow = (1 + math.exp(-0.5 * (spin / 5 * width) ** 2)) / 2
    return upright * (5 - action[0] ** 2) / 5 * slow * centred, False


def halfcheetah(before: list[float], action: list[float], after: list[float]) -> tuple[float, bool]:
    return (after[0] - before[0]) / 0.05 - 0.1 * sum(a * a for a in action), False


def hopper(before: list[float], action: list[float], after: list[float]) -> tuple[float, bool]:
    tame = all(-100 < value < 100 for value in after[2:])
    healthy = tame and after[1] > 0.7 and -0.2 < after[2] < 0.2
    cost = 1e-3 * sum(a * a for a in action)
    return (after[0] - before[0]) / 0.008 + healthy - cost, not healthy


SCORES = {"cartpole_swingup": cartpole, "halfcheetah": halfcheetah, "hopper": hopper}


class PlainLoop:
    """What one would write first: for each candidate, for each step, mj_step and a reward."""

    def __init__(self, env: Any, name: str):
        self._model, self._skip = env.simulation.model, env.simulation._task.frame_skip
        self._data, self._score = mujoco.MjData(self._model), SCORES[name]

    def simulate(self, state: torch.Tensor, actions: torch.Tensor) -> Prediction:
        rows, horizon = actions.shape[:2]
        reward, ended = np.zeros((rows, horizon)), np.zeros((rows, horizon), dtype=bool)
        model, data, score = self._model, self._data, self._score
        starts, given = state.numpy(), actions.double().numpy()
        for row in range(rows):
            mujoco.mj_setState(model, data, starts[row], mujoco.mjtState.mjSTATE_INTEGRATION)
            now = [*data.qpos.tolist(), *data.qvel.tolist()]
            for t in range(horizon):
                data.ctrl[:] = given[row, t]
                mujoco.mj_step(model, data, self._skip)
                before, now = now, [*data.qpos.tolist(), *data.qvel.tolist()]
                reward[row, t], ended[row, t] = score(before, given[row, t].tolist(), now)
                if ended[row, t]:
                    break
        paid, over = torch.from_numpy(reward).float(), torch.from_numpy(ended)
        return Prediction(torch.zeros(rows, horizon, 1), paid, over, torch.ones_like(over), None)


def make(name: str, extra: list[str]) -> tuple[Any, str]:
    arguments = ["agent=pets", "dynamics=simulator", f"env={name}", *extra]
    return build(compose(arguments).config), "mbrl train " + " ".join(arguments)


def speed(name: str, extra: list[str], num_plans: int) -> list[list[Any]]:
    """Time the same plans on the simulator, on a plain loop, and on two threads."""
    parts, _ = make(name, extra)
    pair, _ = make(name, [*extra, "env.num_threads=2"])
    env, planner = parts.env, parts.agent.planner
    models = {
        "simulator": parts.agent.dynamics,
        "simulator, 2 threads": pair.agent.dynamics,
        "plain loop of mj_step": PlainLoop(env, name),
    }
    draws = torch.Generator().manual_seed(0)
    env.reset(0)
    for _ in range(10):
        env.step(0.2 * env.action.sample(1, generator=draws))
    state = env.env_state()
    first = planner.plan(state, models["simulator"], generator=draws)
    cpu: dict[str, list[float]] = {key: [] for key in models}
    wall: dict[str, list[float]] = {key: [] for key in models}
    for index in range(num_plans):
        values = []
        for key, model in models.items():
            generator = torch.Generator().manual_seed(index)
            began, clock = time.process_time(), time.monotonic()
            plan = planner.plan(state, model, generator=generator, previous=first)
            cpu[key].append(time.process_time() - began)
            wall[key].append(time.monotonic() - clock)
            values.append(plan.value.item())
        assert max(values) - min(values) < 1e-3 * max(1, abs(values[0])), values
    rows = []
    for key in models:
        each, real = statistics.median(cpu[key]), statistics.median(wall[key])
        ratio = statistics.median(cpu["plain loop of mj_step"]) / each
        rows.append(["speed", name, key, round(1 / each, 2), round(1 / real, 2), round(ratio, 2)])
        print(
            f"{name:17} {key:22} {1 / each:6.2f} plans/CPU s  {1 / real:6.2f} plans/s  {ratio:.2f}x"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--plans", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[Any]] = []
    for name, extra in EPISODES:
        rows += speed(name, extra, options.plans)
    for name, extra in EPISODES:
        parts, command = make(name, extra)
        began = time.process_time()
        score = evaluate(parts.make_eval_env, parts.agent, episodes=options.episodes, seed=0)
        cpu = time.process_time() - began
        for number, reward in enumerate(score["eval/rewards"]):
            print(f"{name:17} episode {number}: {reward:.1f}")
            rows.append(["episode", name, command, number, round(reward, 2), ""])
        mean = round(score["eval/mean_reward"], 2)
        print(
            f"{name:17} mean {mean} over {options.episodes} episodes, {cpu:.0f} CPU s", flush=True
        )
        rows.append(["mean", name, command, options.episodes, mean, round(cpu)])
    with RESULTS.open("w", newline="") as file:
        file.write(
            f"# python -m scripts.benchmarks.bench_simulator --episodes {options.episodes}\n"
        )
        file.write(
            "# speed: env, model, plans per CPU second, plans per second, times plain loop\n"
        )
        file.write(
            "# episode: env, command, number, return; mean: env, command, episodes, mean, CPU s\n"
        )
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
