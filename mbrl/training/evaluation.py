"""Evaluation: whole episodes with the deterministic policy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import Tensor

from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import Actor, VecEnv, needed_env_state
from mbrl.training.counters import TrainingCounters
from mbrl.training.faults import located, saved_if_it_fails
from mbrl.types import Transitions, read_waits

ENDLESS = 10_000  # steps after which an episode without a limit is held to have no end
_PROBE = 10.0  # seconds that check_ends may take


def evaluate(
    make_env: Callable[[int], VecEnv], agent: Actor, *, episodes: int, seed: int
) -> dict[str, Any]:
    """Run whole episodes side by side with the deterministic policy.

    The environments are seeded apart from training's and from those of other runs' evaluations,
    the same ones at every evaluation.

    Args:
        make_env: number of environments -> a fresh set of them.
        agent: acts with explore=False.
        episodes: how many, one in each environment.
        seed: of the run.

    Returns:
        eval/mean_reward, eval/std_reward, eval/mean_ep_length, eval/episodes, eval/rewards (list).

    Raises:
        EnvironmentFault: also if an episode does not end.
    """
    env = make_env(episodes)
    rewards, lengths = run_episodes(env, agent, seed=seed)
    env.close()
    return summarize(rewards, lengths)


def run_episodes(
    env: VecEnv,
    agent: Actor,
    *,
    seed: int,
    first: int = 0,
    watch: Callable[[Tensor], None] | None = None,
) -> tuple[list[float], list[float]]:
    """Run a whole episode in each environment with the deterministic policy.

    Args:
        env: E environments.
        agent: acts with explore=False.
        seed: of the run.
        first: number of the first episode, where they are run in several parts.
        watch: called with obs (E, obs_dim) at the start and before each further step.

    Returns:
        The returns and the lengths of the E episodes.

    Raises:
        EnvironmentFault: also if an episode does not end.
    """
    obs = env.reset(1_000_000 + 1_000 * seed + first)
    agent.reset(explore=False)
    total, length = torch.zeros(2, env.num_envs, dtype=torch.float64)
    running = torch.ones(env.num_envs, dtype=torch.bool)
    for number in episode_steps(env, running):
        if watch is not None:
            watch(obs)
        action = agent.act(obs, explore=False, env_state=needed_env_state(agent, env))
        check_finite(number, action=action)
        step = env.step(action)
        check_finite(number, observation=step.next_obs, reward=step.reward)
        total += torch.where(running, step.reward.cpu().double(), 0.0)
        length += running
        done = step.terminated | step.truncated
        agent.reset(done, explore=False)
        running &= ~done.cpu()
        obs = step.obs
    return total.tolist(), length.tolist()


def summarize(rewards: list[float], lengths: list[float]) -> dict[str, Any]:
    """Return what evaluate returns.

    Args:
        rewards: the returns of the episodes.
        lengths: their numbers of steps.
    """
    total = torch.tensor(rewards, dtype=torch.float64)
    return {
        "eval/mean_reward": total.mean().item(),
        "eval/std_reward": total.std(correction=0).item(),
        "eval/mean_ep_length": torch.tensor(lengths, dtype=torch.float64).mean().item(),
        "eval/episodes": len(rewards),
        "eval/rewards": rewards,
    }


def collect_episodes(env: VecEnv, agent: Actor, *, seed: int, first: int = 0) -> Transitions:
    """Collect a whole episode of each environment with the deterministic policy.

    Their seeds are apart from those of training and of evaluations.

    Args:
        env: E environments.
        agent: acts with explore=False.
        seed: of the run.
        first: number of the first episode, where they are collected in several parts.

    Raises:
        EnvironmentFault: also if an episode does not end.
    """
    obs = env.reset(2_000_000_000 + 1_000 * seed + first)
    agent.reset(explore=False)
    running = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    episode = first + torch.arange(env.num_envs, device=env.device)
    rows = []
    for _ in episode_steps(env, running):
        action = agent.act(obs, explore=False, env_state=needed_env_state(agent, env))
        step = env.step(action)
        rows.append(Transitions.of_step(obs, action, step, episode).select(running))
        done = step.terminated | step.truncated
        agent.reset(done, explore=False)
        running &= ~done
        obs = step.obs
    return Transitions.concatenate(rows)


def check_ends(make_env: Callable[[int], VecEnv] | None, seed: int) -> None:
    """Check that episodes end: where there is no limit, random actions must end one.

    It is tried for ENDLESS steps, but for no longer than some seconds. A fault is left to the run.

    Args:
        make_env: number of environments -> a fresh set of them; None checks nothing.
        seed: of the run.

    Raises:
        BadInput: if no episode has ended.
    """
    if make_env is None:
        return
    env = make_env(1)
    if env.max_episode_steps is None:
        with contextlib.suppress(EnvironmentFault):
            _check_ends(env, seed)
    with contextlib.suppress(EnvironmentFault):
        env.close()


def _check_ends(env: VecEnv, seed: int) -> None:
    """Step an environment at random until an episode ends.

    Raises:
        BadInput: if none does.
    """
    until = time.monotonic() + _PROBE
    draws = torch.Generator(env.action.low.device).manual_seed(seed)
    env.reset(1_000_000 + 1_000 * seed)
    for _ in range(ENDLESS):
        step = env.step(env.action.sample(1, generator=draws))
        if (step.terminated | step.truncated).any() or time.monotonic() > until:
            return
    raise BadInput(
        f"max_episode_steps=None: no episode has ended in {ENDLESS} random steps, so there is "
        "nothing to evaluate; give a limit, for example env.max_episode_steps=1000, or register "
        "the environment with one"
    )


@final
class Evaluator:
    """Evaluations of a run at intervals and at its end, which lose no steps if they fail.

    A checkpoint is saved before the last evaluation, because an episode may have no end, and when
    another one fails. A run that goes on from it begins with that evaluation.

    Args:
        make_env: number of environments -> a fresh set of them; None evaluates never.
        every: steps between evaluations; None: never.
        episodes: of an evaluation.
        seed: of the run.
        unit: what the steps of the run are.

    Attributes:
        waiting: whether the evaluation of the run's step is still to be run.
    """

    def __init__(
        self,
        make_env: Callable[[int], VecEnv] | None,
        every: int | None,
        *,
        episodes: int,
        seed: int,
        unit: str = "transitions",
    ):
        """Store the settings."""
        self._make_env, self._every = make_env, every
        self._episodes, self._seed, self._unit = episodes, seed, unit
        self.waiting = False
        self._saved_at: int | None = None  # step whose checkpoint was saved before its evaluation

    def resume(self, loop: dict[str, Any]) -> None:
        """Restore from the part "loop" of a checkpoint whether an evaluation is still to be run."""
        wanted = self._make_env is not None and self._every is not None
        self.waiting = wanted and loop.get("evaluation_due", False)  # older checkpoints have none
        self._saved_at = loop["progress"]["step"] if self.waiting else None

    def replaces(self, step: int) -> bool:
        """Return whether a checkpoint of this step replaces the one before its evaluation."""
        return step == self._saved_at and not self.waiting

    def run(
        self,
        agent: Actor,
        counters: TrainingCounters,
        save: Callable[[], None],
        *,
        last: bool,
    ) -> float | None:
        """Evaluate if it is time; return the mean return, None if it is not.

        Args:
            agent: acts with explore=False, which leaves its training alone.
            counters: of the run; the metrics are counted in it.
            save: saves a checkpoint in which this evaluation is still to be run.
            last: whether the run ends with this step.

        Raises:
            EnvironmentFault: also if an episode does not end.
            NumericalFault: naming what was not finite.
        """
        if self._make_env is None or self._every is None:
            return None
        if not (self.waiting or last or counters.due(self._every)):
            return None
        self.waiting = True
        if last and self._saved_at != counters.step:
            save()
            self._saved_at = counters.step
        where = located(counters.step, "in the evaluation ", self._unit)
        with where, saved_if_it_fails(save):
            score = evaluate(self._make_env, agent, episodes=self._episodes, seed=self._seed)
        self.waiting = False
        mean = score["eval/mean_reward"]
        counters.count(score)
        return mean


def episode_steps(env: VecEnv, running: Tensor) -> Iterator[int]:
    """Yield the number of each step, from 1, while any episode is running.

    Args:
        env: whose max_episode_steps is the limit.
        running: (E,) bool, changed in place by the caller.

    Raises:
        EnvironmentFault: if an episode outlasts its limit, or ENDLESS steps where it has none.
    """
    limit = env.max_episode_steps or ENDLESS
    number = 0
    while running.any():
        if number >= limit:
            index = int(torch.nonzero(running)[0])
            what = f"the episode has not ended after {number} steps"
            if env.max_episode_steps is None:
                what += "; give it a limit, for example env.max_episode_steps=1000"
            raise EnvironmentFault(what, index=index, step=number)
        number += 1
        yield number


def check_finite(number: int, **values: Tensor) -> None:
    """Check that what an environment was given, or returned, holds no NaN and no infinity.

    Args:
        number: of the environment's step.
        values: (E, ...) each, under the name to report.

    Raises:
        EnvironmentFault: naming the environment.
    """
    for name, value in values.items():
        if not torch.isfinite(value).all():
            rows = value.reshape(value.shape[0], -1)
            index = int(torch.nonzero(~torch.isfinite(rows).all(1))[0])
            kind = "a NaN" if torch.isnan(rows[index]).any() else "an infinity"
            raise EnvironmentFault(f"{kind} in the {name}", index=index, step=number)


@final
class FiniteCheck:
    """Check that numbers are finite: at once, or, where a read waits, when read() is called."""

    def __init__(self):
        """Start with nothing to read."""
        self._unread: dict[str, Tensor] = {}  # by name, () bool: whether all were finite
        self._number = 0

    def add(self, number: int, **values: Tensor) -> None:
        """Check what an environment was given or returned, or note it to be read.

        Args:
            number: of the environment's step.
            values: (E, ...) each, under the name to report.

        Raises:
            EnvironmentFault: naming the environment.
        """
        for name, value in values.items():
            if not read_waits(value):
                check_finite(number, **{name: value})
                continue
            finite = torch.isfinite(value).all()
            before = self._unread.get(name)
            self._unread[name] = finite if before is None else before & finite
            self._number = number

    def read(self) -> None:
        """Read what was noted.

        Raises:
            EnvironmentFault: naming what was not finite; the environment is not known any more.
        """
        if not self._unread:
            return
        flags, self._unread = self._unread, {}
        for name, finite in zip(flags, torch.stack(list(flags.values())).tolist(), strict=True):
            if not finite:
                what = f"a NaN or an infinity in the {name}, in this step or one before it"
                raise EnvironmentFault(what, index=None, step=self._number)
