"""Former simulations of single environments; ClosedFormSimulation now steps a task of each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def _simulation(task: str) -> Callable[..., Any]:
    """Return the constructor of a simulation of one of the tasks."""

    def make(*, num_envs: int = 1, **options: Any) -> Any:
        envs = importlib.import_module("mbrl.envs")
        chosen = getattr(importlib.import_module("mbrl.envs.tasks"), task)
        return envs.ClosedFormSimulation(chosen(**options), num_envs=num_envs)

    return make


KuramotoSivashinskySimulation = _simulation("KuramotoSivashinsky")
PendulumSimulation = _simulation("Pendulum")
PiecewiseAffineSimulation = _simulation("PiecewiseAffine")
