"""The training loop of an agent that acts in an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbrl.buffer import ReplayBuffer
from mbrl.roles import Agent, VecEnv, needed_env_state
from mbrl.training.faults import located
from mbrl.training.run_folder import RunFolder
from mbrl.training.training_run import NoRecord, Recorder, Schedule, TrainingRun
from mbrl.values import Count, Seed, checked

__all__ = ["NoRecord", "Recorder", "train"]


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
    one = TrainingRun(
        env,
        agent,
        Schedule(total_steps, eval_every, eval_episodes, save_every, log_every),
        buffer=buffer,
        folder=run,
        logger=logger,
        make_eval_env=make_eval_env,
        seed=seed,
    )
    one.begin()
    counters = one.counters
    while one.goes_on and not stop():
        if not one.waiting:
            with located(counters.step):
                action = agent.act(one.obs, explore=True, env_state=needed_env_state(agent, env))
            one.step(action)
            with located(counters.step):
                metrics = agent.update(one.buffer)
            one.learned(metrics)
        one.close_step()
    return one.finish()
