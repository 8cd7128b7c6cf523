"""The training loop and the evaluation, readable on one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, EnvironmentFault, NumericalFault
from mbrl.roles import Actor, Agent, OfflineAgent, VecEnv, needed_env_state
from mbrl.training.counters import TrainingCounters
from mbrl.training.run_folder import RunFolder
from mbrl.types import Transitions

ENDLESS = 10_000  # steps after which an episode without a limit is held to have no end


class Recorder(Protocol):
    """Where metrics go: mbrl.logger.Logger."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at an environment step."""
        ...

    def position(self) -> int:
        """Give the length of the record in bytes."""
        ...

    def rewind(self, position: int) -> None:
        """Cut the record back to a length, on a resume."""
        ...


def train(
    env: VecEnv,
    agent: Agent,
    buffer: ReplayBuffer,
    run: RunFolder,
    logger: Recorder,
    *,
    make_eval_env: Callable[[int], VecEnv],
    seed: int,
    total_steps: int,
    eval_every: int | None,
    eval_episodes: int,
    save_every: int,
    log_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train until total_steps environment transitions, from the newest checkpoint if there is one.

    Args:
        env: E environments; each step of the loop adds E transitions.
        agent: acts and learns.
        buffer: takes every real transition.
        run: where checkpoints and the summary go.
        logger: where metrics go.
        make_eval_env: makes the environments of an evaluation, given their number.
        seed: of the environments.
        total_steps: environment transitions in all.
        eval_every: transitions between evaluations; there is one at the end too. None: never.
        eval_episodes: episodes of an evaluation.
        save_every: transitions between checkpoints; there is one at the end too.
        log_every: transitions between rows of training metrics.
        stop: asked after each step; True saves and returns early.

    Returns:
        The summary, also written to the run folder; summary["finished"] is False if stopped early.

    Raises:
        BadInput: if the checkpoint is damaged, or is not one of these parts.
        EnvironmentFault: naming the environment and its step.
        NumericalFault: naming what was not finite, and after how many transitions.
    """
    progress = TrainingCounters(env.num_envs)
    saved = run.load()
    if saved is None:
        obs = env.reset(seed)
        logger.rewind(0)
    else:
        obs = saved["loop"]["obs"].to(env.device)
        progress.load_state_dict(saved["loop"]["progress"])
        logger.rewind(saved["loop"]["log_position"])
        for part, name in ((env, "env"), (agent, "agent"), (buffer, "buffer")):
            with fitting(run, name):
                part.load_state_dict(saved[name])

    def save() -> None:
        loop = {"obs": obs, "progress": progress.state_dict(), "log_position": logger.position()}
        parts = {"agent": agent, "buffer": buffer, "env": env}
        run.save(progress.step, {"loop": loop, **{k: v.state_dict() for k, v in parts.items()}})

    finished = progress.step >= total_steps
    while not finished and not stop():
        with _counted(progress):
            action = agent.act(obs, explore=True, env_state=needed_env_state(agent, env))
        number = progress.step // env.num_envs + 1
        check_finite(number, action=action)
        step = env.step(action)
        check_finite(number, observation=step.next_obs, reward=step.reward)
        buffer.add(
            Transitions(
                obs,
                action,
                step.reward,
                step.next_obs,
                step.terminated,
                step.truncated,
                progress.episode,
            )
        )
        obs = step.obs
        progress.advance(step.reward, step.terminated | step.truncated)
        agent.reset(step.terminated | step.truncated)
        with _counted(progress):
            metrics = agent.update(buffer)
        finished = progress.step >= total_steps

        if eval_every is not None and (progress.due(eval_every) or finished):
            with _counted(progress, "in the evaluation "):
                score = evaluate(make_eval_env, agent, episodes=eval_episodes, seed=seed)
            progress.evaluations.append([progress.step, score["eval/rewards"]])
            metrics = {**metrics, **{k: v for k, v in score.items() if k != "eval/rewards"}}
        if "eval/mean_reward" in metrics or progress.due(log_every):
            logger.log({**metrics, **progress.metrics()}, progress.step)
        if progress.due(save_every) and not finished:
            save()
    save()
    summary = {"finished": finished, **progress.summary()}
    run.write_summary(summary)
    return summary


def train_offline(
    agent: OfflineAgent,
    buffer: ReplayBuffer,
    run: RunFolder,
    logger: Recorder,
    *,
    digest: str,
    make_eval_env: Callable[[int], VecEnv] | None,
    score: Callable[[float], float | None] = lambda _: None,
    seed: int,
    total_steps: int,
    eval_every: int | None,
    eval_episodes: int,
    save_every: int,
    log_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Learn from a dataset for total_steps updates, from the newest checkpoint if there is one.

    Args:
        agent: learns.
        buffer: the dataset, which is not part of a checkpoint.
        run: where checkpoints and the summary go.
        logger: where metrics go.
        digest: of the dataset, by which a resumed run knows it again.
        make_eval_env: makes the environments of an evaluation; None where there is no environment.
        score: gives a return's normalised score, None where the dataset has no reference returns.
        seed: of the evaluations.
        total_steps: updates in all.
        eval_every: updates between evaluations; there is one at the end too. None: never.
        eval_episodes: episodes of an evaluation.
        save_every: updates between checkpoints; there is one after fitting and at the end too.
        log_every: updates between rows of metrics.
        stop: asked every log_every updates; True saves and returns early.

    Returns:
        The summary, as train gives it.

    Raises:
        BadInput: if the checkpoint is damaged, or was made of another dataset or other parts.
        NumericalFault: naming what was not finite, and after how many updates.
    """
    progress = TrainingCounters()
    saved = run.load()

    def save() -> None:
        position = {"log_position": logger.position(), "dataset": digest}
        loop = {"progress": progress.state_dict(), **position}
        run.save(progress.step, {"loop": loop, "agent": agent.state_dict()})

    if saved is None:
        logger.rewind(0)
        with _counted(progress, unit="updates"):
            metrics = agent.fit(buffer)
        if metrics:
            logger.log({**metrics, **progress.metrics()}, 0)
            save()
    else:
        if saved["loop"]["dataset"] != digest:
            raise BadInput(
                f"{run.path}: its dataset is not the one it began with (SHA-256 {digest[:16]}, was "
                f"{saved['loop']['dataset'][:16]}); put that one back, or begin a new run"
            )
        progress.load_state_dict(saved["loop"]["progress"])
        logger.rewind(saved["loop"]["log_position"])
        with fitting(run, "agent"):
            agent.load_state_dict(saved["agent"])

    evaluates = eval_every if make_eval_env is not None else None
    finished = progress.step >= total_steps
    while not finished and not stop():
        marks = [every for every in (log_every, evaluates, save_every) if every is not None]
        until = min(total_steps, *((progress.step // every + 1) * every for every in marks))
        with _counted(progress, unit="updates"):
            metrics = agent.learn(buffer, until - progress.step)
        progress.step = until
        finished = until >= total_steps
        if make_eval_env is not None and evaluates and (progress.due(evaluates) or finished):
            with _counted(progress, "in the evaluation ", "updates"):
                found = evaluate(make_eval_env, agent, episodes=eval_episodes, seed=seed)
            progress.evaluations.append([until, found.pop("eval/rewards")])
            scaled = score(found["eval/mean_reward"])
            metrics |= found | ({} if scaled is None else {"eval/normalized_score": scaled})
        if make_eval_env is None and (progress.due(log_every) or finished):
            metrics["eval/action_gap"] = _action_gap(agent, buffer)
        if "eval/mean_reward" in metrics or progress.due(log_every) or finished:
            logger.log({**metrics, **progress.metrics()}, until)
        if progress.due(save_every) and not finished:
            save()
    save()
    summary = {"finished": finished, **progress.summary()}
    mean = summary["eval/mean_reward"]
    if mean is not None and score(mean) is not None:
        summary["eval/normalized_score"] = score(mean)
    run.write_summary(summary)
    return summary


def _action_gap(agent: OfflineAgent, buffer: ReplayBuffer) -> float:
    """Give the root mean square between the policy's actions and the first 1,000 of the data."""
    data = buffer.rows(torch.arange(min(len(buffer), 1000)))
    gap = agent.act(data.obs, explore=False) - data.action
    return gap.square().mean().sqrt().item()


def evaluate(
    make_env: Callable[[int], VecEnv], agent: Actor, *, episodes: int, seed: int
) -> dict[str, Any]:
    """Run whole episodes side by side with the deterministic policy.

    The environments are seeded apart from training's and from those of other runs' evaluations,
    the same ones at every evaluation.

    Args:
        make_env: number of environments -> a fresh set of them.
        agent: asked with explore=False.
        episodes: how many, one in each environment.
        seed: of the run.

    Returns:
        eval/mean_reward, eval/std_reward, eval/mean_ep_length, eval/episodes, eval/rewards (list).

    Raises:
        EnvironmentFault: also if an episode does not end.
    """
    env = make_env(episodes)
    obs = env.reset(1_000_000 + 1_000 * seed)
    agent.reset(explore=False)
    total, length = torch.zeros(2, episodes, dtype=torch.float64)
    running = torch.ones(episodes, dtype=torch.bool)
    for number in episode_steps(env, running):
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
    env.close()
    return {
        "eval/mean_reward": total.mean().item(),
        "eval/std_reward": total.std(correction=0).item(),
        "eval/mean_ep_length": length.mean().item(),
        "eval/episodes": episodes,
        "eval/rewards": total.tolist(),
    }


def episode_steps(env: VecEnv, running: Tensor) -> Iterator[int]:
    """Count steps from 1 while any episode is running.

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


def check_finite(number: int, **found: Tensor) -> None:
    """Name the environment that was given, or gave, a NaN or an infinity in its number-th step.

    Args:
        number: of the step.
        found: what was found, (E, ...) each, under the name to report.

    Raises:
        EnvironmentFault: naming the environment.
    """
    for what, values in found.items():
        if not torch.isfinite(values).all():
            rows = values.reshape(values.shape[0], -1)
            index = int(torch.nonzero(~torch.isfinite(rows).all(1))[0])
            kind = "a NaN" if torch.isnan(rows[index]).any() else "an infinity"
            raise EnvironmentFault(f"{kind} in the {what}", index=index, step=number)


@contextmanager
def fitting(run: RunFolder, part: str) -> Iterator[None]:
    """Say that a checkpoint's part is not one of this config, where loading it fails.

    Args:
        run: whose checkpoint is loaded.
        part: what is loaded, for the message.

    Raises:
        BadInput: instead of what loading raised.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, EnvironmentFault | BadInput):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise BadInput(
            f"{run.path}: the checkpoint's {part} does not fit config.yaml ({reason}); "
            "undo the change of the config, or begin a new run"
        ) from error


@contextmanager
def _counted(
    progress: TrainingCounters, where: str = "", unit: str = "transitions"
) -> Iterator[None]:
    """Add to a fault after how many transitions, or updates, it came."""
    when = f"({where}after {progress.step} {unit})"
    try:
        yield
    except NumericalFault as fault:
        raise NumericalFault(f"{fault} {when}") from fault
    except EnvironmentFault as fault:
        what = f"{fault.what} {when}"
        raise EnvironmentFault(what, index=fault.index, step=fault.step) from fault
