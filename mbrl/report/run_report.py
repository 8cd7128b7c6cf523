"""Report of a run that can act in its environment: the policy against a random one, the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbrl.report.html import write_report
from mbrl.report.model_error import k_step_error
from mbrl.roles import Actor, HasDynamics
from mbrl.types import Transitions

_HORIZON = 20  # steps of the model's open-loop error


def report_run(
    path: Path,
    config: dict[str, Any],
    agents: dict[str, Actor],
    *,
    returns: Callable[[Actor], list[float]],
    episodes: Callable[[Actor], Transitions],
) -> Path:
    """Measure a policy against others, and its model if there is one; write the report.

    Args:
        path: the run folder.
        config: of the run.
        agents: by name, the run's own first.
        returns: returns the returns of an agent's episodes.
        episodes: returns new transitions (B, ...) of an agent.
    """
    scores = {name: returns(agent) for name, agent in agents.items()}
    agent = next(iter(agents.values()))
    error = None
    # the environment's own simulator has no error, and is started from its state only
    if isinstance(agent, HasDynamics) and agent.dynamics.learned:
        source = "new episodes of this policy, to which the model was not fitted"
        error = k_step_error(agent.dynamics, episodes(agent), horizon=_HORIZON, source=source)
    return write_report(path, config, scores, error)
