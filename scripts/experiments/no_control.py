"""Returns of an environment without control: the reference of specs/flow.yaml."""

import torch

from mbrl.envs import kuramoto_sivashinsky


def returns(task: str, seed: int, num_episodes: int = 10) -> list[float]:
    """Return those of the evaluation's episodes under actions of 0.

    Args:
        task: kuramoto_sivashinsky; its episodes have 200 steps.
        seed: of the run, which the evaluation's starts follow from.
        num_episodes: at a time.
    """
    assert task == "kuramoto_sivashinsky", task
    env = kuramoto_sivashinsky(num_envs=num_episodes)
    env.reset(1_000_000 + 1_000 * seed)
    still = torch.zeros(num_episodes, env.action.dim)
    return torch.stack([env.step(still).reward for _ in range(200)]).sum(0).tolist()
