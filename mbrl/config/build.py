"""Build the parts that a config names; here concrete parts meet."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mbrl import moved
from mbrl.config.library import Library
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.memory import in_words, is_too_large, limited_memory, total_memory

if TYPE_CHECKING:
    import torch

    from mbrl.buffer import ReplayBuffer
    from mbrl.data import Dataset
    from mbrl.roles import VecEnv

# Constructor parameters that are filled in by name: in every part, and in all after the environment
FROM_RUN = ("seed", "device", "generator", "total_steps", "dataset")
FROM_ENV = ("obs_dim", "action", "task", "num_envs", "max_episode_steps")


class Parts(NamedTuple):
    """Parts of a training loop."""

    env: VecEnv
    make_eval_env: Callable[[int], VecEnv]  # number of environments -> a fresh set of them
    agent: Any  # an Actor with its parts: an Agent, or an OfflineAgent
    buffer: ReplayBuffer  # empty; with a dataset, filled with it
    dataset: Dataset | None  # of an offline run


def instantiate(
    node: dict[str, Any],
    part: str = "",
    fresh: Callable[[str], Any] | None = None,
    /,
    **scope: Any,
) -> Any:
    """Build what a node's `_target_` names, nested nodes first.

    Args:
        node: `_target_`, constructor arguments, and labels (`_requires_` ...), which are dropped.
        part: dotted name of the node.
        fresh: makes the generator of a part, given its name; each nested node gets its own.
        scope: constructor arguments injected by name where the node does not give them; those that
            the constructor does not take are left out.

    Returns:
        What the `_target_` returns; a list becomes a tuple where the annotation is one.

    Raises:
        BadInput: if there is no such `_target_`, or it cannot be built of what it is given.
        EnvironmentFault: if an environment breaks while it is made.
    """
    make = _locate(node["_target_"], part)
    taken = inspect.signature(make).parameters

    def value(item: Any, name: str) -> Any:
        if isinstance(item, dict) and "_target_" in item:
            return instantiate(item, name, fresh, **scope)
        if isinstance(item, dict):
            return {key: value(child, f"{name}.{key}") for key, child in item.items()}
        if isinstance(item, list):
            return [value(child, f"{name}.{i}") for i, child in enumerate(item)]
        return item

    given = {
        name: value(item, f"{part}.{name}")
        for name, item in node.items()
        if not name.startswith("_")
    }
    for name, item in given.items():
        if name in taken:
            given[name] = _as_annotated(item, str(taken[name].annotation))
    if fresh is not None and "generator" in taken:
        scope = {**scope, "generator": fresh(part)}
    injected = {name: item for name, item in scope.items() if name in taken and name not in given}
    with _named(node, part, taken.keys() - injected.keys()):
        return make(**injected, **given)


@contextlib.contextmanager
def _named(node: dict[str, Any], part: str, settings: Collection[str]) -> Iterator[None]:
    """Raise an error of a constructor again, as one that names the part.

    Args:
        node: of the part.
        part: its dotted name.
        settings: parameters that the config gives or leaves to their defaults.

    Raises:
        BadInput: instead of what building raised.
    """
    try:
        yield
    except BadInput as error:
        name = re.match(r"(\w+)(\.[\w.]+)?[=:]", str(error))
        if part and name and name[1] in settings:
            raise BadInput(f"{part}.{error}") from error
        raise
    except EnvironmentFault:
        raise
    except Exception as error:  # whatever a class raises, also one of the user's own
        if is_too_large(error):
            raise BadInput(f"{farthest_setting(node, part)}: {_needs_memory()}") from error
        where = f"{part or 'part'}._target_={node['_target_']}"
        raise BadInput(f"{where}: cannot be built ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Return the words for an error, with the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{at}"


def farthest_setting(node: dict[str, Any], part: str = "") -> str:
    """Return the setting with a whole number farthest above its default: KEY=VALUE.

    Args:
        node: a part or a config, with whatever is within.
        part: its dotted name.
    """
    above: list[tuple[float, str]] = []

    def enter(node: dict[str, Any], key: str) -> None:
        usual = {name: _size(default) for name, default in _defaults_of(node, key).items()}
        for name, value in node.items():
            dotted = f"{key}.{name}" if key else name
            if isinstance(value, dict):
                enter(value, dotted)
            elif dotted != "seed" and _size(value) > usual.get(name, 1):
                above.append((_size(value) / usual.get(name, 1), f"{dotted}={value}"))

    enter(node, part)
    return max(above, default=(0, part or "this run"))[1]


def _defaults_of(node: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the defaults of a node's class; without one, those of the keys of a run."""
    if "_target_" not in node:
        return {} if key else Library().plain
    taken = inspect.signature(_locate(node["_target_"], key)).parameters
    return {name: parameter.default for name, parameter in taken.items()}


def _size(value: Any) -> float:
    """Return the largest whole number in a value, 1 if there is none."""
    if isinstance(value, list | tuple):
        return max(map(_size, value), default=1)
    return max(value, 1) if isinstance(value, int) else 1


def _needs_memory() -> str:
    """Return the words for what does not fit in memory."""
    return f"needs more memory than there is here ({in_words(total_memory())}); choose less"


def _as_annotated(value: Any, annotation: str) -> Any:
    """Return what YAML cannot hold: a tuple, a dtype of torch."""
    if isinstance(value, list) and annotation.lower().startswith("tuple"):
        return tuple(value)
    if isinstance(value, str) and annotation.endswith("torch.dtype"):
        import torch

        return getattr(torch, value)
    return value


def build(
    config: dict[str, Any], *, with_data: bool = True, most_memory: int | None = None
) -> Parts:
    """Build environment, buffer and agent of a resolved config; imports torch.

    Args:
        config: as compose gives it.
        with_data: read the dataset of an offline run.
        most_memory: bytes that building may take, None for those of the machine.

    Raises:
        BadInput: if the device is not there, or a part cannot be built of what it is given.
    """
    import torch

    device = config["device"]
    if device.startswith("cuda"):
        count = torch.cuda.device_count()
        if (torch.device(device).index or 0) >= count:
            raise BadInput(f"device={device}: there are {count} CUDA devices here; use device=cpu")
    with contextlib.ExitStack() as limits:
        if device == "cpu":  # CUDA reserves addresses that it does not fill
            limits.enter_context(limited_memory(most_memory))
        return _build(config, with_data=with_data)


def _build(config: dict[str, Any], *, with_data: bool) -> Parts:
    """Build environment, buffer and agent."""
    env = make_env(config)
    make_eval_env = partial(make_env, config, "eval_env")
    vector_steps = -(-config["total_steps"] // env.num_envs)
    capacity = min(config["buffer_size"], vector_steps * env.num_envs)
    dataset = None
    if config["dataset"] is not None and with_data:
        from mbrl.data import load_dataset

        spaces: dict[str, Any] = {"obs_dim": env.obs_dim, "action": env.action}
        dataset = load_dataset(config["dataset"], **spaces, task=env.task)
        capacity = len(dataset.data.reward)
    buffer = make_buffer(config, env, capacity)
    if dataset is not None:
        buffer.add(dataset.data, recorded=dataset.recorded)
    return Parts(env, make_eval_env, build_agent(config, env), buffer, dataset)


def make_buffer(config: dict[str, Any], env: VecEnv, capacity: int) -> ReplayBuffer:
    """Build an empty replay buffer for an environment.

    Args:
        config: as compose gives it.
        env: whose transitions it holds.
        capacity: how many.

    Raises:
        BadInput: if it does not fit in memory.
    """
    from mbrl.buffer import ReplayBuffer

    try:
        return ReplayBuffer(capacity, env.obs_dim, env.action.dim, config["device"])
    except (MemoryError, OverflowError, RuntimeError) as error:
        if not is_too_large(error):
            raise
        raise BadInput(f"buffer_size={config['buffer_size']}: {_needs_memory()}") from error


def build_agent(config: dict[str, Any], env: VecEnv) -> Any:
    """Build the agent of a resolved config for an environment, and the parts it is made of.

    Every group with a `_target_` is built in the order of config["choices"], the agent last, and
    is offered to the later ones under its group's name. Each part draws from its own generator,
    seeded by (seed, part name).

    Args:
        config: as compose gives it.
        env: the environment that the agent will act in.
    """
    scope: dict[str, Any] = {name: getattr(env, name) for name in FROM_ENV}
    scope |= {"env": env} | _run_scope(config)
    groups = [g for g in config["choices"] if "_target_" in (config.get(g) or {})]
    for group in (*(g for g in groups if g not in ("env", "agent")), "agent"):
        scope[group] = instantiate(config[group], group, partial(_generator, config), **scope)
    return scope["agent"]


def make_env(config: dict[str, Any], part: str = "env", num_envs: int | None = None) -> VecEnv:
    """Build an instance of a resolved config's environment.

    Args:
        config: as compose gives it.
        part: what it is built for, "env" or another; the seed of its randomness depends on it.
        num_envs: copies, None for those of the config.

    Raises:
        BadInput: if its `_target_` makes no VecEnv.
    """
    node = config["env"] if num_envs is None else {**config["env"], "num_envs": num_envs}
    env = instantiate(node, part, partial(_generator, config), **_run_scope(config))
    if not all(hasattr(env, name) for name in ("obs_dim", "action", "task", *FROM_ENV)):
        raise BadInput(
            f"env._target_={node['_target_']}: it makes a {type(env).__name__}, no VecEnv; "
            "register a gymnasium Env and name it in env=gym env.id=MODULE:ID"
        )
    return env


def _run_scope(config: dict[str, Any]) -> dict[str, Any]:
    """Return what every part may take."""
    return {name: config[name] for name in FROM_RUN if name != "generator"}


def _generator(config: dict[str, Any], part: str) -> torch.Generator:
    """Return the generator of a part, seeded by a stable hash of (seed, part name)."""
    import torch

    part = moved.seed_name(part)
    digest = hashlib.sha256(f"{config['seed']}/{part}".encode()).digest()
    return torch.Generator(config["device"]).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _locate(target: str, part: str) -> Callable[..., Any]:
    """Import `package.module.Name`."""
    home, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(home)
    except (ModuleNotFoundError, ValueError) as error:
        raise BadInput(f"{part}._target_={target}: {error}") from None
    except Exception as error:  # of a module of the user's own
        reason = _reason(error)
        raise BadInput(f"{part}._target_={target}: cannot be imported ({reason})") from error
    if not hasattr(module, name):
        raise BadInput(f"{part}._target_={target}: {home} has no {name}")
    return getattr(module, name)
