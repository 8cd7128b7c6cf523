"""Check of an environment: what it returns, whether it repeats, whether its episodes end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mbrl.envs.spaces import constant_components
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import HasRewardTerms, VecEnv, VecStep
from mbrl.task_check import TaskCheck
from mbrl.types import Transitions

_ROUNDING = 1e-5  # relative, of rewards that are float32 and of their terms


class Findings(NamedTuple):
    """What a check found."""

    faults: list[str]  # what must be mended, with index and step
    notes: list[str]  # what is allowed, and may not be meant


class _Run(NamedTuple):
    """Steps of an environment."""

    rows: list[Tensor]  # (E, columns): the start, then all that each step returned
    starts: Tensor  # (num_starts, obs_dim) of the episodes
    ended: bool  # whether an episode ended
    too_long: EnvironmentFault | None  # an episode that outlasted its limit
    terms: str | None  # terms of a reward that do not add up to it
    at_start: bool  # whether an environment is at the start of an episode


def check_env(make: Callable[[], VecEnv], *, seed: int = 0, num_steps: int = 1000) -> str | None:
    """Check an environment by random actions, twice from the same seed.

    Args:
        make: builds it, one copy or more, strict where it can be.
        seed: of the environment and of the actions.
        num_steps: steps taken each time.

    Returns:
        What is wrong with it, with index and step; None if nothing is.
    """
    faults = examine(make, seed=seed, num_steps=num_steps).faults
    return faults[0] if faults else None


def examine(make: Callable[[], VecEnv], *, seed: int = 0, num_steps: int = 1000) -> Findings:
    """Check an environment by random actions, and what is known of it by its transitions.

    It is stepped twice from the same seed, saved, restored and started from another seed.

    Args:
        make: builds it, one copy or more, strict where it can be.
        seed: of the environment and of the actions.
        num_steps: steps taken each time.

    Raises:
        BadInput: if it cannot be built.
    """
    env = make()
    notes = [
        f"component {index} of the actions can only be {value:g}"
        for index, value in constant_components(env.action).items()
    ]
    try:
        first = _run(env, seed, num_steps, TaskCheck(env.task, env.obs_dim))
        copy = make()
        faults = _differences(first, _run(copy, seed, num_steps))
        if not faults and first.at_start:  # of an episode, where little is to be restored
            for each in (env, copy):
                each.step(_first_action(each))
        faults = faults or _after_restoring(env, copy)
        other = copy.reset(seed + env.num_envs)
        env.close()
        copy.close()
    except (BadInput, EnvironmentFault) as error:  # BadInput: what is known contradicts it
        return Findings([str(error)], notes)
    if first.too_long is not None:
        faults.append(first.too_long)
    if not first.ended and env.max_episode_steps is None:
        what = (
            "no episode has ended and there is no limit; register it with max_episode_steps, "
            "or pass max_episode_steps=1000"
        )
        faults.append(EnvironmentFault(what, index=0, step=num_steps))
    return Findings([str(fault) for fault in faults], notes + _remarks(first, other))


def difference_from_original(name: str, *, seed: int = 0, num_steps: int = 200) -> str | None:
    """Return where `mbrl/NAME` and gymnasium's NAME differ, in any bit, None if nowhere.

    Both are stepped by the same actions: observations, rewards, ends, and the terms and other
    values of `info` are compared, also those of later episodes.

    Args:
        name: of gymnasium's environment, such as "Hopper-v5".
        seed: of the environments and of the actions.
        num_steps: steps taken.
    """
    own, original = gymnasium.make(f"mbrl/{name}"), gymnasium.make(name)
    own.action_space.seed(seed)
    try:
        a: Any = own.reset(seed=seed)
        b: Any = original.reset(seed=seed)
        for number in range(num_steps + 1):
            what = _unequal_results(a, b)
            if what:
                return f"step {number}: {what}, not as gymnasium's {name} gives it"
            if len(a) == 5 and (a[2] or a[3] or number % 50 == 49):
                a, b = own.reset(), original.reset()
            else:
                action = own.action_space.sample()
                a, b = own.step(action), original.step(action)
        return None
    finally:
        own.close()
        original.close()


def _unequal_results(a: tuple[Any, ...], b: tuple[Any, ...]) -> str:
    """Return what differs between two results of a step or a reset, an empty string if nothing."""
    names = ("the observation", "the reward", "terminated", "truncated")
    for name, x, y in zip(names, a[:-1], b[:-1], strict=False):
        if not np.array_equal(x, y):
            return f"{name} is {x}"
    if a[-1].keys() != b[-1].keys():
        return f"info has {', '.join(a[-1]) or 'nothing'}"
    for key, value in a[-1].items():
        if not np.array_equal(value, b[-1][key]):
            return f"{key} in info is {value}"
    return ""


def _run(env: VecEnv, seed: int, num_steps: int, known: TaskCheck | None = None) -> _Run:
    """Step an environment from a seed; compare what is known of it with what it returns."""
    draws = torch.Generator(env.action.low.device).manual_seed(seed)
    obs = env.reset(seed)
    rows, starts, ended, too_long = [obs.cpu()], [obs.cpu()], False, None
    age = torch.zeros(env.num_envs, dtype=torch.int64)
    limit, episode = env.max_episode_steps, torch.arange(env.num_envs)
    terms = None
    for number in range(1, num_steps + 1):
        action = _action(env, number, draws)
        step = env.step(action)
        rows.append(_columns(step))
        if known is not None:
            known.add(Transitions.of_step(obs, action, step, episode), number)
            terms = terms or _unequal_terms(env, step, number)
        obs, done = step.obs, (step.terminated | step.truncated).cpu()
        age = torch.where(done, 0, age + 1)
        if done.any():
            starts.append(obs.cpu()[done])
            ended = True
        if limit is not None and too_long is None and bool((age >= limit).any()):
            what = f"the episode goes on after its limit, max_episode_steps={limit}"
            too_long = EnvironmentFault(what, index=int(age.argmax()), step=number)
    if known is not None:
        known.check()
    return _Run(rows, torch.cat(starts), ended, too_long, terms, bool((age == 0).any()))


def _unequal_terms(env: VecEnv, step: VecStep, number: int) -> str | None:
    """Return where the terms of the reward in gymnasium's `info` do not add up to it."""
    terms = env.reward_terms() if isinstance(env, HasRewardTerms) else {}
    if not terms:
        return None
    table = torch.stack([term.cpu() for term in terms.values()]).nan_to_num()  # (terms, E)
    reward, total = step.reward.cpu().double(), table.sum(0)
    room = _ROUNDING * (table.abs().sum(0) + reward.abs())
    goes_on = ~(step.terminated | step.truncated).cpu()
    wrong = torch.nonzero(((total - reward).abs() > room) & goes_on).flatten().tolist()
    if not wrong:
        return None
    index = wrong[0]
    return (
        f"environment {index}, step {number}: the terms of the reward in info, {', '.join(terms)}, "
        f"add up to {total[index]:.6g}, and the reward is {reward[index]:.6g}"
    )


def _action(env: VecEnv, number: int, draws: torch.Generator) -> Tensor:
    """Return the actions (E, act_dim) of a step: random ones, at times the bounds themselves."""
    action = env.action.sample(env.num_envs, generator=draws).to(env.device)
    if env.action.kind == "discrete" or number % 10 not in (4, 9):
        return action
    return (env.action.low if number % 10 == 4 else env.action.high).expand_as(action).clone()


def _first_action(env: VecEnv) -> Tensor:
    """Return the same random actions (E, act_dim) each time."""
    return _action(env, 0, torch.Generator(env.action.low.device).manual_seed(0))


def _differences(first: _Run, second: _Run) -> list[EnvironmentFault]:
    """Return the first place where two runs from one seed differ."""
    what = "does not repeat under the same seed: a resumed run would not be the same"
    for number, (a, b) in enumerate(zip(first.rows, second.rows, strict=True)):
        for index in range(a.shape[0]):
            if not a[index].equal(b[index]):
                return [EnvironmentFault(what, index=index, step=number)]
    return []


def _after_restoring(env: VecEnv, copy: VecEnv) -> list[EnvironmentFault]:
    """Restore what env is in to the copy, step both, and return where they differ."""
    state = env.state_dict()
    copy.load_state_dict(state)
    action = _first_action(env)
    a, b = _columns(env.step(action)), _columns(copy.step(action))
    for index in range(a.shape[0]):
        if not a[index].equal(b[index]):
            what = "goes on otherwise after it was saved and restored; a resumed run would, too"
            return [EnvironmentFault(what, index=index, step=state.get("steps", 0) + 1)]
    return []


def _remarks(run: _Run, other: Tensor) -> list[str]:
    """Return what is allowed, and may not be meant."""
    notes = [] if run.terms is None else [run.terms]
    if run.rows[0].equal(other.cpu()) and not run.starts.eq(run.starts[0]).all():
        notes.append("another seed gives the same first start: reset() may ignore its seed")
    table = torch.stack(run.rows[1:])  # (steps, E, columns)
    reward = table[:, :, -3]
    if reward.eq(0).all():
        notes.append(f"the reward was 0 in all {len(table)} steps")
    obs_dim = other.shape[1]
    values = table[:, :, :obs_dim].flatten(0, 1)
    still = torch.nonzero((values == values[0]).all(0)).flatten().tolist()
    if still:
        shown = ", ".join(map(str, still[:8])) + (" ..." if len(still) > 8 else "")
        notes.append(f"components of the observation that never changed: {shown}")
    return notes


def _columns(step: VecStep) -> Tensor:
    """Concatenate all that a step returned: (E, columns)."""
    flags = [x[:, None] for x in (step.reward, step.terminated, step.truncated)]
    return torch.cat([step.obs, step.next_obs, *flags], 1).cpu()
