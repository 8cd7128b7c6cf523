"""Moved to `mbrl.training.loop`, `mbrl.training.offline_loop` and `mbrl.training.evaluation`.

What is in `mbrl.training.loop` is handed on; the functions here have the old parameters.
"""

from typing import Any

from mbrl import moved

__getattr__ = moved.module(__name__)


def train(env: Any, agent: Any, buffer: Any, run: Any, logger: Any, **options: Any) -> Any:
    """Train; see mbrl.training.loop.train.

    Args:
        env: environments.
        agent: acts and learns.
        buffer: stores the transitions.
        run: the run folder.
        logger: records the metrics.
        options: further keywords.
    """
    from mbrl.training.loop import train as new

    moved.warn("mbrl.loop.train", "mbrl.training.loop.train(env, agent, total_steps, ...)")
    return new(env, agent, buffer=buffer, run=run, logger=logger, **options)


def train_offline(agent: Any, buffer: Any, run: Any, logger: Any, **options: Any) -> Any:
    """Train from a dataset; see mbrl.training.offline_loop.train_offline.

    Args:
        agent: learns.
        buffer: the dataset.
        run: the run folder.
        logger: records the metrics.
        options: further keywords.
    """
    from mbrl.training.offline_loop import train_offline as new

    moved.warn("mbrl.loop.train_offline", "mbrl.training.offline_loop.train_offline")
    return new(agent, buffer, run=run, logger=logger, **options)
