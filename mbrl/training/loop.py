"""The training loop of an agent that acts in an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.roles import Agent, VecEnv, VecStep, needed_env_state
from mbrl.task_check import TaskCheck
from mbrl.training.counters import TrainingCounters
from mbrl.training.evaluation import Evaluator, check_ends, check_finite
from mbrl.training.faults import (
    checkpoint_mismatch,
    load_part,
    located,
    restore_loop,
    saved_if_it_fails,
)
from mbrl.training.run_folder import RunFolder
from mbrl.types import Transitions
from mbrl.values import Count, Seed, checked


class Recorder(Protocol):
    """Record of metrics: mbrl.training.logger.Logger."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at an environment step."""
        ...

    def position(self) -> int:
        """Return the length of the record in bytes."""
        ...

    def rewind(self, position: int) -> None:
        """Truncate the record to a length, on a resume."""
        ...


class NoRecord:
    """Recorder that keeps nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Ignore the metrics."""

    def position(self) -> int:
        """Return 0."""
        return 0

    def rewind(self, position: int) -> None:
        """Ignore the length."""


@checked
def train(
    env: VecEnv,
    agent: Agent,
    total_steps: Count,
    *,
    buffer: ReplayBuffer | None = None,
    run: RunFolder | None = None,
    logger: Recorder | None = None,
    make_eval_env: Callable[[int], VecEnv] | None = None,
    seed: Seed = 0,
    eval_every: Count | None = None,
    eval_episodes: Count = 10,
    save_every: Count | None = None,
    log_every: Count = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train until total_steps environment transitions, from the newest checkpoint if there is one.

    `train(env, agent, 5000)` keeps nothing on disk; the agent is trained in place.

    Args:
        env: E environments; each step of the loop adds E transitions.
        agent: acts and learns.
        total_steps: environment transitions in all.
        buffer: stores every real transition; None makes one that holds them all.
        run: where checkpoints and the summary are saved; None saves nothing.
        logger: records the metrics; None records none.
        make_eval_env: makes the environments of an evaluation, given their number; None evaluates
            never.
        seed: of the environments.
        eval_every: transitions between evaluations; there is one at the end too. None: never.
        eval_episodes: episodes of an evaluation.
        save_every: transitions between checkpoints; there is one at the end too. None: only there.
        log_every: transitions between rows of training metrics.
        stop: called after each step; True saves and returns early.

    Returns:
        The summary, also written to the run folder; summary["finished"] is False if stopped early.

    Raises:
        BadInput: if the checkpoint is damaged, or is not one of these parts; if env.task
            contradicts the transitions; if episodes are to be evaluated and never end.
        EnvironmentFault: naming the environment and its step.
        NumericalFault: naming what was not finite, and after how many transitions.
    """
    _check_env(env)
    buffer = _empty_buffer(env, total_steps) if buffer is None else buffer
    logger = NoRecord() if logger is None else logger
    evaluator = Evaluator(make_eval_env, eval_every, episodes=eval_episodes, seed=seed)
    counters = TrainingCounters(env.num_envs)
    known = TaskCheck(env.task, env.obs_dim)
    saved = None if run is None else run.resume()
    if run is None or saved is None:
        check_ends(None if env.max_episode_steps or not eval_every else make_eval_env, seed)
        obs = env.reset(seed)
        logger.rewind(0)
    else:
        parts = {"env": env, "agent": agent, "buffer": buffer}
        obs = _restore(run, saved, parts, counters, logger).to(env.device)
        evaluator.resume(saved["loop"])

    def save() -> None:
        if run is not None:
            loop = {
                "obs": obs,
                "progress": counters.state_dict(),
                "log_position": logger.position(),
                "evaluation_due": evaluator.waiting,
            }
            parts = {"agent": agent, "buffer": buffer, "env": env}
            state = {"loop": loop, **{name: part.state_dict() for name, part in parts.items()}}
            run.save(counters.step, state, replace=evaluator.replaces(counters.step))

    finished = counters.step >= total_steps
    while (evaluator.waiting or not finished) and not stop():
        if not evaluator.waiting:
            with located(counters.step):
                action = agent.act(obs, explore=True, env_state=needed_env_state(agent, env))
            number = counters.step // env.num_envs + 1
            step = _step(env, action, number)
            data = Transitions.of_step(obs, action, step, counters.episode)
            buffer.add(data)
            obs = step.obs
            counters.advance(step.reward, step.terminated | step.truncated)
            agent.reset(step.terminated | step.truncated)
            with located(counters.step):
                counters.pending |= agent.update(buffer)
            finished = counters.step >= total_steps
            with saved_if_it_fails(save):
                known.add(data, number, last=finished)
        evaluator.run(agent, counters, save, last=finished)
        if "eval/mean_reward" in counters.pending or counters.due(log_every):
            logger.log(counters.row(), counters.step)
        if save_every is not None and counters.due(save_every) and not finished:
            save()
    save()
    summary = {"finished": finished, **counters.summary()}
    if run is not None:
        run.write_summary(summary)
    return summary


def _restore(
    run: RunFolder,
    saved: dict[str, Any],
    parts: dict[str, Any],
    counters: TrainingCounters,
    logger: Recorder,
) -> Tensor:
    """Restore a checkpoint; return the observations (E, obs_dim) to act on next."""
    for name, part in parts.items():
        load_part(run.path, name, part, saved.get(name))
    position = restore_loop(run, saved["loop"], counters)
    with checkpoint_mismatch(run.path, "loop"):
        obs, shape = saved["loop"]["obs"], (counters.episode.shape[0], parts["env"].obs_dim)
        if obs.shape != shape or not obs.isfinite().all():
            raise ValueError(f"obs: shape {tuple(obs.shape)} should be {shape}, of finite numbers")
    logger.rewind(position)  # only now: a checkpoint that is refused leaves the record as it is
    return obs


def _step(env: VecEnv, action: Tensor, number: int) -> VecStep:
    """Step with actions (E, act_dim); check that they and what comes of them are finite."""
    check_finite(number, action=action)
    step = env.step(action)
    check_finite(number, observation=step.next_obs, reward=step.reward)
    return step


def _check_env(env: Any) -> None:
    """Check that an environment is a VecEnv.

    Raises:
        BadInput: if it is another.
    """
    if not all(hasattr(env, name) for name in ("num_envs", "obs_dim", "action", "task", "step")):
        raise BadInput(
            f"env: a {type(env).__name__} should be a VecEnv, as mbrl.make_vec returns; "
            "mbrl.envs.vec_env_of(env) makes one of a gymnasium Env"
        )


def _empty_buffer(env: VecEnv, total_steps: int) -> ReplayBuffer:
    """Return a buffer that holds all transitions of a run."""
    capacity = -(-total_steps // env.num_envs) * env.num_envs
    return ReplayBuffer(capacity, env.obs_dim, env.action.dim, env.device)
