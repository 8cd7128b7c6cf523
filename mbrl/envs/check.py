"""Check of an environment: what it returns, whether it repeats, whether its episodes end."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mbrl.errors import EnvironmentFault
from mbrl.roles import VecEnv, VecStep


def check_env(make: Callable[[], VecEnv], *, seed: int = 0, num_steps: int = 1000) -> str | None:
    """Check an environment by random actions, twice from the same seed.

    Args:
        make: builds it, one copy or more, strict where it can be.
        seed: of the environment and of the actions.
        num_steps: steps taken each time.

    Returns:
        What is wrong with it, with index and step; None if nothing is.
    """
    try:
        first, ended, limit = _run(make, seed, num_steps)
        second, _, _ = _run(make, seed, num_steps)
    except EnvironmentFault as fault:
        return str(fault)
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        for index in range(a.shape[0]):
            if not a[index].equal(b[index]):
                what = "does not repeat under the same seed: a resumed run would not be the same"
                return str(EnvironmentFault(what, index=index, step=number))
    if not ended and limit is None:
        what = (
            "no episode has ended and there is no limit; register it with max_episode_steps, "
            "or pass max_episode_steps=1000"
        )
        return str(EnvironmentFault(what, index=0, step=num_steps))
    return None


def _run(
    make: Callable[[], VecEnv], seed: int, num_steps: int
) -> tuple[list[torch.Tensor], bool, int | None]:
    """Return all that it returned, (E, columns) a step, whether an episode ended, and its limit."""
    env = make()
    draws = torch.Generator().manual_seed(seed)
    rows, ended = [env.reset(seed).cpu()], False
    for _ in range(num_steps):
        step = env.step(env.action.sample(env.num_envs, generator=draws))
        rows.append(_columns(step))
        ended = ended or bool((step.terminated | step.truncated).any())
    env.close()
    return rows, ended, env.max_episode_steps


def _columns(step: VecStep) -> torch.Tensor:
    """Concatenate all that a step returned: (E, columns)."""
    flags = [x[:, None] for x in (step.reward, step.terminated, step.truncated)]
    return torch.cat([step.obs, step.next_obs, *flags], 1).cpu()
