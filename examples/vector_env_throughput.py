"""Count the steps a second of Hopper in threads, beside gymnasium's own vector environment."""

import time

import gymnasium
import torch

import mbrl

NUM_ENVS, SECONDS = 64, 2.0


def rate(step) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        step()
        count += NUM_ENVS
    return count / (time.perf_counter() - start)


ours = mbrl.make_vec("Hopper-v5", num_envs=NUM_ENVS, seed=0, num_threads=2)
ours.reset(0)
generator = torch.Generator().manual_seed(0)
actions = ours.action.sample(NUM_ENVS, generator=generator)
print(f"dynaplan, 2 threads:  {rate(lambda: ours.step(actions)):,.0f} steps a second")

theirs = gymnasium.make_vec("Hopper-v5", num_envs=NUM_ENVS, vectorization_mode="sync")
theirs.reset(seed=0)
array = actions.numpy()
print(f"gymnasium, sync:      {rate(lambda: theirs.step(array)):,.0f} steps a second")
