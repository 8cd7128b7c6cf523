"""Time a SAC update against Stable-Baselines3's: both learn from the same data, turn by turn.

    python -m scripts.benchmarks.bench_sac [--hidden 64 128 256] [--rounds 21] [--updates 25]

An update is everything SB3's `SAC.train` does: sample the replay, then critics, temperature, actor
and targets. Prints medians over the rounds and writes results/benchmarks/sac_update.csv.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.logger import configure

from mbrl.buffer import ReplayBuffer
from mbrl.learners import SAC
from mbrl.types import ActionSpec, Transitions

OBS_DIM, ACT_DIM, BATCH_SIZE, ROWS = 11, 3, 256, 50_000


class Idle(gymnasium.Env):
    """Spaces and nothing else: SB3 asks for an environment."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACT_DIM,), np.float32)


def data() -> Transitions:
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(ROWS, OBS_DIM, generator=g)
    action = torch.rand(ROWS, ACT_DIM, generator=g) * 2 - 1
    next_obs = obs + 0.1 * torch.randn(ROWS, OBS_DIM, generator=g)
    terminated = torch.rand(ROWS, generator=g) < 0.01
    never = torch.zeros(ROWS, dtype=torch.bool)
    return Transitions(obs, action, -obs.norm(dim=1), next_obs, terminated, never, never.long())


def reference(rows: Transitions, hidden: int) -> Callable[[int], object]:
    """SB3's SAC with its replay buffer filled."""
    learner = stable_baselines3.SAC(
        "MlpPolicy",
        Idle(),
        buffer_size=ROWS,
        batch_size=BATCH_SIZE,
        policy_kwargs={"net_arch": [hidden, hidden]},
        device="cpu",
        seed=0,
    )
    learner.set_logger(configure(None, []))
    buffer = learner.replay_buffer
    assert buffer is not None
    obs, action, reward, next_obs, terminated = (x.numpy() for x in rows[:5])
    for i in range(ROWS):
        buffer.add(obs[i], next_obs[i], action[i], reward[i], terminated[i], [{}])
    return lambda updates: learner.train(gradient_steps=updates, batch_size=BATCH_SIZE)


def ours(rows: Transitions, hidden: int, backward: str) -> Callable[[int], object]:
    """SAC with one of its two backward passes."""
    buffer = ReplayBuffer(ROWS, OBS_DIM, ACT_DIM)
    buffer.add(rows)
    learner = SAC(
        obs_dim=OBS_DIM,
        action=ActionSpec("continuous", -torch.ones(ACT_DIM), torch.ones(ACT_DIM)),
        generator=torch.Generator().manual_seed(0),
        hidden=hidden,
        batch_size=BATCH_SIZE,
        backward=backward,  # pyright: ignore[reportArgumentType]
    )
    return lambda updates: learner.improve(buffer, num_updates=updates)


def measure(
    sides: dict[str, Callable[[int], object]], rounds: int, updates: int
) -> dict[str, float]:
    """Return the median milliseconds of an update, the sides taking turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(updates)
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side(updates)
            times[name].append((time.perf_counter() - start) / updates * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--updates", type=int, default=25, help="in a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, lines = data(), []
    for hidden in args.hidden:
        sides = {
            "sb3": reference(rows, hidden),
            "autograd": ours(rows, hidden, "autograd"),
            "manual": ours(rows, hidden, "manual"),
        }
        found = measure(sides, args.rounds, args.updates)
        for name, ms in found.items():
            ratio = found["sb3"] / ms
            lines.append(f"{hidden},{name},{ms:.3f},{ratio:.2f}")
            print(f"hidden {hidden:4d}  {name:9s} {ms:7.3f} ms  {ratio:5.2f}x SB3", flush=True)
    out = Path(__file__).parents[2] / "results" / "benchmarks" / "sac_update.csv"
    command = "# python -m scripts.benchmarks.bench_sac " + " ".join(sys.argv[1:])
    header = "hidden,backward,ms_per_update,times_sb3"
    out.write_text("\n".join([command.strip(), header, *lines]) + "\n")


if __name__ == "__main__":
    main()
