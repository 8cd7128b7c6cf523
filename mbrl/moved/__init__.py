"""Old names that keep working for one release, with a DeprecationWarning.

`mbrl/__init__.py` adds this folder to the package's path, so that `mbrl.loop` is the file
`mbrl/moved/loop.py`, which hands on the names of `mbrl.training.loop`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

# classes and functions: old full name -> new full name
NAMES = {
    "mbrl.gym.GymAgent": "mbrl.GymAgent",
    **{
        f"mbrl.loop.{name}": f"mbrl.training.evaluation.{name}"
        for name in ("ENDLESS", "check_finite", "episode_steps", "evaluate")
    },
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
    "mbrl.dynamics.Adversarial": "mbrl.dynamics.AdversarialReward",
    "mbrl.dynamics.Christoffel": "mbrl.dynamics.ChristoffelReward",
    "mbrl.dynamics.Consensus": "mbrl.dynamics.ConsensusReward",
    "mbrl.dynamics.Contrastive": "mbrl.dynamics.ContrastiveReward",
    "mbrl.dynamics.Distilled": "mbrl.dynamics.DistilledReward",
    "mbrl.dynamics.EnsembleMean": "mbrl.dynamics.EnsembleMeanReward",
    "mbrl.dynamics.MixtureLikelihood": "mbrl.dynamics.MixtureLikelihoodReward",
    "mbrl.dynamics.Oracle": "mbrl.dynamics.OracleReward",
    "mbrl.dynamics.RandomPick": "mbrl.dynamics.RandomReward",
    "mbrl.dynamics.Regression": "mbrl.dynamics.BayesianPolynomialReward",
    "mbrl.dynamics.SparseResidual": "mbrl.dynamics.SparseResidualReward",
    "mbrl.dynamics.Fallback": "mbrl.dynamics.FallbackDynamics",
    "mbrl.dynamics.Judge": "mbrl.dynamics.DynamicsReward",
    "mbrl.dynamics.LearnedJudge": "mbrl.dynamics.LearnedDynamicsReward",
    "mbrl.dynamics.Normalizer": "mbrl.nn.normalizer.Normalizer",
    "mbrl.dynamics.Pool": "mbrl.dynamics.CandidateGenerator",
    "mbrl.dynamics.Residual": "mbrl.dynamics.ResidualDynamics",
}
_NOT_THE_USER = ("mbrl", "importlib")  # frames that a warning passes over
# modules: old full name -> new full name
MODULES = {
    "mbrl.generators": "mbrl.nn.generators",
    "mbrl.global_rng": "mbrl.nn.global_rng",
    "mbrl.graphs": "mbrl.nn.cuda_graphs",
    "mbrl.gym": "mbrl.imagination",
    "mbrl.logger": "mbrl.training.logger",
    "mbrl.loop": "mbrl.training.loop",
    "mbrl.progress": "mbrl.training.counters",
    "mbrl.run": "mbrl.training.run_folder",
}
# constructor parameters, also as configuration keys: class or function -> old name -> new name,
# with a dot where it is now a parameter of a part: "degree": "library.degree"
PARAMETERS: dict[str, dict[str, str]] = {
    "mbrl.agents.InModelAgent": {
        "rollback": "rollback_tolerance",
        "value_outside": "invalid_state_value",
    },
    "mbrl.learners.SB3PPO": {
        name: f"loss.{name}"
        for name in ("gae_lambda", "clip_range", "ent_coef", "vf_coef", "max_grad_norm")
    },
    "mbrl.imagination.ImaginedVecEnv": {
        "charge": "penalty",
        "hold": "action_hold",
        "value_outside": "invalid_state_value",
    },
    "mbrl.imagination.ModelEnv": {"world": "env"},
    "mbrl.imagination.ModelVectorEnv": {"world": "env"},
    "mbrl.imagination.SB3ModelEnv": {"world": "env"},
    "mbrl.dynamics.AdversarialReward": {
        "generator_rate": "generator_learning_rate",
        "slope_penalty": "gradient_penalty",
    },
    "mbrl.dynamics.CandidateGenerator": {"edges": "holdout_ensemble"},
    "mbrl.dynamics.DistilledReward": {
        "num_steps": "rollout_length",
        "reach": "max_extrapolation",
    },
    "mbrl.dynamics.RewardConsistent": {
        "judge": "dynamics_reward",
        "on_low": "below_threshold",
        "pool": "candidates",
    },
    "mbrl.dynamics.GaussianEnsemble": {
        name: f"training.{name}"
        for name in (
            *("learning_rate", "weight_decay", "batch_size", "holdout"),
            *("patience", "min_updates", "max_updates"),
        )
    },
    "mbrl.dynamics.SINDy": {
        **{
            name: f"library.{name}"
            for name in ("degree", "interaction", "frequencies", "products", "affine")
        },
        **{
            name: f"regression.{name}"
            for name in (
                *("target", "threshold", "alpha", "normalize"),
                *("rows_per_term", "bagging", "limits"),
            )
        },
        "dropped": "regression.num_dropped_terms",
        "bounds": "validity.margin",
        "valid_within": "validity.within",
        "horizon": "validity.horizon",
        "unstable_above": "validity.max_rollout_error",
        "reward_degree": "reward_polynomial.degree",
        "reward_threshold": "reward_polynomial.threshold",
    },
    "mbrl.dynamics.SparseReLU": {
        "batch_size": "training.batch_size",
        "gate_rate": "training.gate_learning_rate",
        "gate_weight": "training.gate_weight",
        "holdout": "training.holdout",
        "learning_rate": "training.learning_rate",
        "rollout_length": "training.rollout_length",
        "stability_radius": "training.stability_radius",
        "stability_weight": "training.stability_weight",
    },
    "mbrl.dynamics.transition_filter.holdout_ensemble.TailHoldoutEnsemble": {
        "per_split": "members_per_tail",
        "share": "tail_fraction",
    },
    "mbrl.planners.ICEM": {"colour": "color", "whiten": "color_decay"},
    "mbrl.planners.MPPI": {"colour": "color"},
    "mbrl.planners.UPMPC": {
        "colour": "color",
        "num_wide": "num_noise_candidates",
        "reading": "variant",
        "wide_refits": "num_noise_refits",
    },
}
# values of parameters: class or function -> (new) parameter -> old value -> new value
VALUES: dict[str, dict[str, dict[str, str]]] = {
    "mbrl.dynamics.RewardConsistent": {
        "below_threshold": {"penalise": "penalize"},
        "calibration": {"choices": "selected", "transitions": "data"},
    },
}
# parameters that only another class has now: class or function -> parameter -> what has it
SPLIT: dict[str, dict[str, str]] = {
    "mbrl.envs.threaded_mujoco": {"time_limit": "mbrl.envs.GymnasiumProcess (env=gym_process)"},
    "mbrl.agents.Dyna": dict.fromkeys(
        ("updates_per_refit", "max_episode_steps", "action_hold", "rollback", "value_outside"),
        "mbrl.agents.InModelAgent (agent=sindy_rl)",
    ),
}
# parts that draw from generators seeded by their old names, so that a seed means what it meant
SEEDS = {
    "dynamics.candidates": "dynamics.pool",
    "dynamics.dynamics_reward": "dynamics.judge",
}
# choices on the command line: old GROUP=NAME -> new GROUP=NAME
CHOICES: dict[str, str] = {}


class Renamed(DeprecationWarning):
    """Warning that an old name is used."""


def warn(old: str, new: str) -> None:
    """Raise the warning that a name has changed, at the user's line.

    Args:
        old: the name that was used.
        new: its present name.
    """
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USER:
        frame = frame.f_back
    warnings.warn_explicit(
        f"{old} is now {new}; the old name works for one release",
        Renamed,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__", ""),
    )


def current(name: str) -> str:
    """Return the present full name of a class or function.

    Args:
        name: full name, old or present.
    """
    module, _, last = name.rpartition(".")
    if name in NAMES:
        return NAMES[name]
    return f"{MODULES[module]}.{last}" if module in MODULES else name


def entry(table: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what PARAMETERS or VALUES hold of a class or function, under whichever name.

    Args:
        table: PARAMETERS or VALUES.
        name: full name, that of the public package or of the module which defines it.
    """
    home, _, last = name.rpartition(".")
    for key, found in table.items():
        room, _, own = key.rpartition(".")
        if own == last and f"{home}.".startswith(f"{room}."):
            return found
    return {}


def seed_name(part: str) -> str:
    """Return the name that seeds the generator of a part.

    Args:
        part: dotted name in a configuration, such as "dynamics.candidates".
    """
    for new, old in SEEDS.items():
        if part == new or part.startswith(f"{new}."):
            return old + part.removeprefix(new)
    return part


def _load(old: str, new: str) -> Any:
    """Return what new names, with a warning that old is no longer its name."""
    warn(old, new)
    module, _, name = new.rpartition(".")
    return getattr(importlib.import_module(module), name)


def state_keys(part: Any, prefixes: dict[str, str]) -> None:
    """Register renamed keys with a torch module, so that it loads old checkpoints.

    Args:
        part: the module.
        prefixes: old prefix of a key of its state -> new prefix.
    """

    def rename(state: dict[str, Any], prefix: str, *_: Any) -> None:
        for key in list(state):
            for old, new in prefixes.items():
                if key.startswith(prefix + old):
                    state[prefix + new + key.removeprefix(prefix + old)] = state.pop(key)

    part.register_load_state_dict_pre_hook(lambda module, *arguments: rename(*arguments))


def new_state(part: Any, *keys: str) -> None:
    """Register buffers with a torch module that old checkpoints lack: they stay as they are.

    Args:
        part: the module.
        keys: names of the buffers.
    """

    def add(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for key in keys:
            state.setdefault(prefix + key, getattr(module, key))

    part.register_load_state_dict_pre_hook(add)


def names(package: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that names have left.

    Args:
        package: full name of the package.
    """

    def find(name: str) -> Any:
        old = f"{package}.{name}"
        if old not in NAMES:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return _load(old, NAMES[old])

    return find


def module(old: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names are all in another one now.

    Args:
        old: full name of the old module.
    """

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        return _load(f"{old}.{name}", current(f"{old}.{name}"))

    return find
