"""Environments that a user has made in Python, as a VecEnv, and what a run folder holds of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, final

import gymnasium
import torch
from gymnasium.vector import VectorEnv

from mbrl.envs.from_gymnasium import GymnasiumVecEnv
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import VecEnv
from mbrl.types import Task
from mbrl.values import Count, CountOrZero, NumEnvs, Positive, checked

Given = (
    gymnasium.Env | Sequence[gymnasium.Env] | Callable[[], gymnasium.Env] | VecEnv
)  # what a user may give for an environment


@final
class OnlyInPython:
    """Stand-in, in a run's config, for an environment that was given in Python.

    Args:
        name: of its class.
        has_task: whether a Task was given with it.
        num_envs: copies.
        max_episode_steps: when an episode was truncated.
        time_limit: seconds that a step or a reset of all copies could take.

    Raises:
        BadInput: always, with what to do.
    """

    @checked
    def __init__(
        self,
        *,
        name: str,
        has_task: bool = False,
        num_envs: NumEnvs = 1,
        max_episode_steps: Count | None = None,
        time_limit: Positive | None = None,
    ):
        """Raise BadInput: it cannot be built."""
        task = ", task=..." if has_task else ""
        raise BadInput(
            f"name={name}: this environment exists only in Python; there, "
            f"GymAgent.load(RUN, env=...{task}) takes it again, and has evaluate() and report()"
        )


@checked
def vec_env_of(
    env: Given,
    *,
    task: Task | None = None,
    num_envs: NumEnvs = 1,
    max_episode_steps: Count | None = None,
    time_limit: Positive | None = None,
    seed: CountOrZero = 0,
    device: torch.device | str = "cpu",
) -> VecEnv:
    """Return a VecEnv of an environment that was given in Python.

    Args:
        env: a gymnasium Env, several of them, a function or class that makes one, or a VecEnv.
        task: what is known of it in closed form; None: nothing, or what a VecEnv has.
        num_envs: copies; several need a function that makes them.
        max_episode_steps: when an episode is truncated; None leaves it to the environment.
        time_limit: seconds that a step or a reset of all copies may take; None for no limit.
        seed: environment i is seeded with seed + i.
        device: of the tensors that are returned.

    Raises:
        BadInput: naming what was given, and what should be.
    """
    if is_vec_env(env):
        return _known_vec_env(env, task, num_envs, max_episode_steps)
    copies = _copies(env, num_envs)
    if max_episode_steps is not None:
        copies = [gymnasium.wrappers.TimeLimit(each, max_episode_steps) for each in copies]
    return GymnasiumVecEnv.around(
        copies, task=task, seed=seed, time_limit=time_limit, device=device
    )


def is_vec_env(env: Any) -> bool:
    """Return whether something is one of the framework's own VecEnvs.

    Args:
        env: anything.
    """
    needed = ("num_envs", "obs_dim", "action", "task", "step", "state_dict", "load_state_dict")
    return not isinstance(env, type) and all(hasattr(env, name) for name in needed)


def repeats(env: Any) -> bool:
    """Return whether any number of environments can be made of what was given.

    Args:
        env: what was given.
    """
    is_one = isinstance(env, gymnasium.Env | list | tuple) or is_vec_env(env)
    return callable(env) and not is_one


def name_of(env: Any) -> str:
    """Return the name of an environment's class, or of the function that makes it.

    Args:
        env: what was given.
    """
    if isinstance(env, list | tuple) and env:
        return name_of(env[0])
    if isinstance(env, gymnasium.Env):
        return type(env.unwrapped).__qualname__
    function = getattr(env, "func", env)  # of a partial
    return str(getattr(function, "__qualname__", type(env).__qualname__))


def _known_vec_env(
    env: Any, task: Task | None, num_envs: int, max_episode_steps: int | None
) -> VecEnv:
    """Return a VecEnv as it is; a gymnasium one with the task."""
    if num_envs not in (1, env.num_envs) or max_episode_steps is not None:
        raise BadInput("env: a VecEnv has its own num_envs and max_episode_steps; leave them out")
    if task is None:
        return env
    if not isinstance(env, GymnasiumVecEnv):
        raise BadInput(f"task: {type(env).__name__} has a Task of its own; leave it out")
    return env.with_task(task)


def _copies(env: Any, num_envs: int) -> list[gymnasium.Env]:
    """Return num_envs environments of what was given.

    Raises:
        BadInput: if they are none, or too few.
    """
    if isinstance(env, gymnasium.Env):
        env = [env]
    elif isinstance(env, VectorEnv) or hasattr(env, "step_async"):
        _refuse_vector(env)
    elif callable(env):
        env = [_made(env, index) for index in range(num_envs)]
        if not isinstance(env[0], gymnasium.Env):
            kind = type(env[0]).__name__
            raise BadInput(f"env: the function returned a {kind}; should be a gymnasium Env")
    if not isinstance(env, list | tuple):
        raise BadInput(
            f"env: a {type(env).__name__} should be a name, a gymnasium id, a gymnasium Env, or a "
            "function that makes one"
        )
    if num_envs not in (1, len(env)):
        raise BadInput(
            f"num_envs={num_envs}: {len(env)} were given; give a function that makes one instead"
        )
    return list(env)


def _made(make: Callable[[], Any], index: int) -> Any:
    """Return what a user's function makes.

    Raises:
        EnvironmentFault: if it raises.
    """
    try:
        return make()
    except BadInput:
        raise
    except Exception as error:
        what = f"raised {type(error).__name__} when it was made: {error}"
        raise EnvironmentFault(what, index=index, step=0) from error


def _refuse_vector(env: Any) -> NoReturn:
    """Raise BadInput for a vector environment of gymnasium or Stable-Baselines3."""
    home = type(env).__module__.partition(".")[0]
    owner = {"stable_baselines3": "Stable-Baselines3", "gymnasium": "gymnasium"}.get(home, home)
    raise BadInput(
        f"env: {type(env).__name__} is a vector environment of {owner}; give one gymnasium Env of "
        "it, or a function that makes one and **{'env.num_envs': N}; normalize nothing, models and "
        "learners do it themselves"
    )
