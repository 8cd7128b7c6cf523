"""Collection of transitions by agents, and mixtures of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from mbrl.data.dataset import episodes, join
from mbrl.roles import Actor, VecEnv, needed_env_state
from mbrl.types import Transitions


class Source(NamedTuple):
    """Agent that acts, and how it acts."""

    agent: Actor  # it acts and is never updated
    explore: bool = True  # True: as in training, False: as in evaluation
    random: float = 0.0  # share of the steps taken at random instead


@torch.no_grad()
def collect(
    env: VecEnv, source: Source, steps: int, *, seed: int, generator: torch.Generator
) -> Transitions:
    """Collect transitions; next_obs is the true successor, also where an episode ends.

    Args:
        env: E environments, reset with the seed.
        source: the agent, and how it acts.
        steps: number of transitions; a surplus of the last step of E environments is dropped.
        seed: of the environments.
        generator: of the random steps.

    Returns:
        (steps, ...) rows, episode by episode; one that was cut off is marked as truncated.
    """
    agent = source.agent
    obs = env.reset(seed)
    agent.reset(explore=source.explore)
    rows: list[Transitions] = []
    episode = torch.arange(env.num_envs, device=env.device)
    for _ in range(-(-steps // env.num_envs)):
        action = agent.act(obs, explore=source.explore, env_state=needed_env_state(agent, env))
        if source.random:
            uniform = env.action.sample(env.num_envs, generator=generator)
            draw = torch.rand(env.num_envs, 1, generator=generator, device=generator.device)
            action = torch.where(draw < source.random, uniform, action)
        step = env.step(action)
        done = step.terminated | step.truncated
        flags = (step.terminated, step.truncated, episode)
        rows.append(Transitions(obs, action, step.reward, step.next_obs, *flags))
        agent.reset(done, explore=source.explore)
        episode = torch.where(done, episode + env.num_envs, episode)
        obs = step.obs
    whole = Transitions(*(torch.cat(parts)[:steps] for parts in zip(*rows, strict=True)))
    return join([_ended(each) for each in episodes(whole)])


def merge(parts: Sequence[Transitions], steps: Sequence[int]) -> Transitions:
    """Mix transitions: whole episodes, spread evenly over each part, until its steps are reached.

    Args:
        parts: transitions (B, ...) each.
        steps: rows to take from each; the last episode is cut to fit.

    Returns:
        (sum of steps, ...) rows, fewer where a part is smaller.

    Raises:
        BadInput: naming the field that is wrong.
    """
    taken: list[Transitions] = []
    for part, wanted in zip(parts, steps, strict=True):
        whole = episodes(part.validated())
        golden = 0.618034  # the first n by this order are spread evenly, for every n
        order = sorted(range(len(whole)), key=lambda i: i * golden % 1)
        for index in order:
            episode = Transitions(*(x[:wanted] for x in whole[index]))
            if wanted:
                taken.append(_ended(episode))
            wanted -= len(episode.reward)
    return join(taken)


def _ended(episode: Transitions) -> Transitions:
    """Mark an episode's last step as truncated, unless it terminated."""
    truncated = episode.truncated.clone()
    truncated[-1] = ~episode.terminated[-1]
    return episode._replace(truncated=truncated)
