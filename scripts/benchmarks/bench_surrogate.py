"""Time a sparse model as a gymnasium VectorEnv against gymnasium's SyncVectorEnv of the real thing.

    python -m scripts.benchmarks.bench_surrogate [--rounds 9]

64 environments, one thread, the two sides taking turns; steps per CPU second (a step of 64 counts
64), actions given beforehand. The model is fitted to 2000 random transitions. Prints medians,
writes results/benchmarks/surrogate.csv.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv

import mbrl.envs  # registers mbrl/...  # noqa: F401
from mbrl.buffer import ReplayBuffer
from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy import LibrarySettings, RegressionSettings
from mbrl.envs import make_vec
from mbrl.imagination import ImaginedVecEnv, ModelVectorEnv
from mbrl.types import Transitions

OUT = Path(__file__).parents[2] / "results" / "benchmarks" / "surrogate.csv"
NUM_ENVS, NUM_STEPS = 64, 50
MODELS = {
    "Pendulum-v1": {"regression": RegressionSettings(limits={"speed": [-7.99, 7.99]})},
    "mbrl/CartpoleSwingup-v0": {
        "library": LibrarySettings(degree=3),
        "regression": RegressionSettings(threshold=0.06, limits={"x": [-1.75, 1.75]}),
    },
}


def surrogate(id: str, compile: bool) -> ModelVectorEnv:
    """Fit a structured sparse model to random transitions."""
    env = make_vec(id, num_envs=10, seed=0)
    draws = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(2000, env.obs_dim, env.action.dim)
    obs, episode = env.reset(0), torch.arange(10)
    for t in range(200):
        if t % 10 == 0:
            action = env.action.sample(10, generator=draws)
        step = env.step(action)
        buffer.add(Transitions(obs, action, *step[2:3], *step[1:2], *step[3:], episode))
        episode = episode + 10 * (step.terminated | step.truncated)
        obs = step.obs
    model = SINDy(
        obs_dim=env.obs_dim, action=env.action, task=env.task, structured=True, compile=compile,
        **MODELS[id],
    )  # fmt: skip
    model.fit(buffer.all(), generator=draws)
    limit = env.max_episode_steps
    return ModelVectorEnv(
        ImaginedVecEnv(model, buffer, env.action, num_envs=NUM_ENVS, max_episode_steps=limit)
    )


def rates(envs: dict[str, gymnasium.vector.VectorEnv], rounds: int) -> dict[str, float]:
    """Return the median steps per CPU second of each side."""
    space = next(iter(envs.values())).single_action_space
    space.seed(0)
    actions = np.stack([[space.sample() for _ in range(NUM_ENVS)] for _ in range(NUM_STEPS)])

    def run(env: gymnasium.vector.VectorEnv) -> Callable[[], None]:
        env.reset(seed=0)

        def steps() -> None:
            for action in actions:
                env.step(action)

        return steps

    sides = {name: run(env) for name, env in envs.items()}
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            side()
            times[name].append(time.process_time() - start)
    return {n: NUM_ENVS * NUM_STEPS / statistics.median(t) for n, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for id in MODELS:
        envs = {
            "sync_vector_env": SyncVectorEnv([lambda i=id: gymnasium.make(i)] * NUM_ENVS),
            "surrogate": surrogate(id, False),
            "surrogate_compiled": surrogate(id, True),
        }
        found = rates(envs, options.rounds)
        for name, rate in found.items():
            ratio = rate / found["sync_vector_env"]
            lines.append(f"{id},{NUM_ENVS},{name},{rate:.0f},{ratio:.1f}")
            print(f"{id:24} {name:18} {rate:9.0f} steps/s  {ratio:5.1f}x", flush=True)
    command = "# python -m scripts.benchmarks.bench_surrogate " + " ".join(sys.argv[1:])
    header = "env,num_envs,side,steps_per_cpu_second,times_sync_vector_env"
    OUT.write_text("\n".join([command.strip(), header, *lines]) + "\n")


if __name__ == "__main__":
    main()
