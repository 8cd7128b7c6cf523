"""The training loop of an agent that learns from a dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.roles import OfflineAgent, VecEnv
from mbrl.training.counters import TrainingCounters
from mbrl.training.evaluation import Evaluator, check_ends
from mbrl.training.faults import load_part, located, restore_loop
from mbrl.training.loop import NoRecord, Recorder
from mbrl.training.run_folder import RunFolder
from mbrl.values import Count, Seed, checked


@checked
def train_offline(
    agent: OfflineAgent,
    buffer: ReplayBuffer,
    total_steps: Count,
    *,
    run: RunFolder | None = None,
    logger: Recorder | None = None,
    digest: str = "",
    make_eval_env: Callable[[int], VecEnv] | None = None,
    score: Callable[[float], float | None] = lambda _: None,
    seed: Seed = 0,
    eval_every: Count | None = None,
    eval_episodes: Count = 10,
    save_every: Count | None = None,
    log_every: Count = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train from a dataset for total_steps updates, from the newest checkpoint if there is one.

    Args:
        agent: learns.
        buffer: the dataset, which is not part of a checkpoint.
        total_steps: updates in all.
        run: where checkpoints and the summary are saved; None saves nothing.
        logger: records the metrics; None records none.
        digest: SHA-256 of the dataset; a resumed run must have the same.
        make_eval_env: makes the environments of an evaluation; None where there is no environment.
        score: returns the normalized score of a return, None where the dataset has no reference
            returns.
        seed: of the evaluations.
        eval_every: updates between evaluations; there is one at the end too. None: never.
        eval_episodes: episodes of an evaluation.
        save_every: updates between checkpoints; there is one after fitting and at the end too.
            None: only there.
        log_every: updates between rows of metrics.
        stop: called every log_every updates; True saves and returns early.

    Returns:
        The summary, as train returns it.

    Raises:
        BadInput: if the checkpoint is damaged, or was made of another dataset or other parts.
        NumericalFault: naming what was not finite, and after how many updates.
    """
    logger = NoRecord() if logger is None else logger
    counters = TrainingCounters()
    limits = {"episodes": eval_episodes, "seed": seed}
    evaluator = Evaluator(make_eval_env, eval_every, **limits, unit="updates")
    saved = None if run is None else run.resume()

    def save() -> None:
        if run is not None:
            loop = {
                "progress": counters.state_dict(),
                "evaluation_due": evaluator.waiting,
                "log_position": logger.position(),
                "dataset": digest,
            }
            state = {"loop": loop, "agent": agent.state_dict()}
            run.save(counters.step, state, replace=evaluator.replaces(counters.step))

    if run is None or saved is None:
        logger.rewind(0)
        check_ends(make_eval_env if eval_every else None, seed)
        with located(counters.step, unit="updates"):
            metrics = agent.fit(buffer)
        if metrics:
            counters.pending |= metrics
            logger.log(counters.row(), 0)
            save()
    else:
        position = restore_loop(run, saved["loop"], counters)
        _check_dataset(run, saved["loop"].get("dataset"), digest)
        evaluator.resume(saved["loop"])
        load_part(run.path, "agent", agent, saved.get("agent"))
        logger.rewind(position)

    evaluates = eval_every if make_eval_env is not None else None
    marks = [every for every in (log_every, evaluates, save_every) if every is not None]
    finished = counters.step >= total_steps
    while (evaluator.waiting or not finished) and not stop():
        if not evaluator.waiting:
            until = min(total_steps, *((counters.step // every + 1) * every for every in marks))
            with located(counters.step, unit="updates"):
                counters.pending |= agent.learn(buffer, until - counters.step)
            counters.step = until
            finished = until >= total_steps
        mean_reward = evaluator.run(agent, counters, save, last=finished)
        counters.pending |= _normalized(score, mean_reward)
        if make_eval_env is None and (counters.due(log_every) or finished):
            counters.pending["eval/action_gap"] = _action_gap(agent, buffer)
        if "eval/mean_reward" in counters.pending or counters.due(log_every) or finished:
            logger.log(counters.row(), counters.step)
        if save_every is not None and counters.due(save_every) and not finished:
            save()
    save()
    summary = {"finished": finished, **counters.summary()}
    summary |= _normalized(score, summary["eval/mean_reward"])
    if run is not None:
        run.write_summary(summary)
    return summary


def _check_dataset(run: RunFolder, saved: Any, digest: str) -> None:
    """Check that a run goes on with the dataset it began with, by their SHA-256."""
    if saved != digest:
        raise BadInput(
            f"{run.path}: its dataset is not the one it began with (SHA-256 {digest[:16]}, was "
            f"{saved!s:.16}); put that one back, or begin a new run"
        )


def _normalized(
    score: Callable[[float], float | None], mean_reward: float | None
) -> dict[str, float]:
    """Return the metric of the normalized score, empty where there is none."""
    scaled = None if mean_reward is None else score(mean_reward)
    return {} if scaled is None else {"eval/normalized_score": scaled}


def _action_gap(agent: OfflineAgent, buffer: ReplayBuffer) -> float:
    """Return the RMS difference of the policy's actions from the first 1,000 of the data."""
    data = buffer.rows(torch.arange(min(len(buffer), 1000)))
    gap = agent.act(data.obs, explore=False) - data.action
    return gap.square().mean().sqrt().item()
