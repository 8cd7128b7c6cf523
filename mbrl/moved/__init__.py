"""Old names that keep working for one release, with a DeprecationWarning.

`mbrl/__init__.py` adds this folder to the package's path, so that `mbrl.loop` is the file
`mbrl/moved/loop.py`, which hands on the names of `mbrl.training.loop`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

# classes and functions: old full name -> new full name
NAMES = {
    **{
        f"mbrl.agents.{name}": f"mbrl.learners.{name}"
        for name in ("BC", "BellmanPenalty", "IQL", "SAC", "SB3PPO", "SB3SAC", "TD3BC")
    },
    "mbrl.agents.InModel": "mbrl.learners.InModelLearner",
    "mbrl.agents.ModelEnvLearner": "mbrl.roles.ModelEnvLearner",
    "mbrl.agents.Penalty": "mbrl.roles.Penalty",
    "mbrl.agents.PolicyLearner": "mbrl.roles.PolicyLearner",
    "mbrl.agents.SparsePolicy": "mbrl.symbolic.SparsePolicy",
    **{
        f"mbrl.envs.tasks.{name}": f"mbrl.moved.simulations.{name}"
        for name in (
            "KuramotoSivashinskySimulation",
            "PendulumSimulation",
            "PiecewiseAffineSimulation",
        )
    },
    **{
        f"mbrl.envs.tasks.{name}": f"mbrl.envs.policies.{name}"
        for name in ("Nudge", "NudgePucks", "ScriptedPush")
    },
    "mbrl.agents.UncertaintyPenalty": "mbrl.learners.UncertaintyPenalty",
    "mbrl.dynamics.Fallback": "mbrl.dynamics.FallbackDynamics",
    "mbrl.dynamics.Judge": "mbrl.dynamics.DynamicsReward",
    "mbrl.dynamics.LearnedJudge": "mbrl.dynamics.LearnedDynamicsReward",
    "mbrl.dynamics.Normalizer": "mbrl.nn.normalizer.Normalizer",
    "mbrl.dynamics.Pool": "mbrl.dynamics.CandidateGenerator",
    "mbrl.dynamics.Residual": "mbrl.dynamics.ResidualDynamics",
}
# constructor parameters, as in configurations: class -> old name -> new name
PARAMETERS: dict[str, dict[str, str]] = {
    "mbrl.planners.ICEM": {"colour": "color", "whiten": "color_decay"},
    "mbrl.planners.MPPI": {"colour": "color"},
}


def _load(old: str, new: str) -> Any:
    """Return what new names, with a warning that old is no longer its name."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)
    module, _, name = new.rpartition(".")
    return getattr(importlib.import_module(module), name)


def names(package: str) -> Callable[[str], Any]:
    """Return a package's `__getattr__` that finds the names which have left it.

    Args:
        package: full name of the package.
    """

    def find(name: str) -> Any:
        old = f"{package}.{name}"
        if old not in NAMES:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return _load(old, NAMES[old])

    return find


def module(old: str, new: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names are all in another one now.

    Args:
        old: full name of the old module.
        new: full name of the new one.
    """

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        return _load(f"{old}.{name}", f"{new}.{name}")

    return find
