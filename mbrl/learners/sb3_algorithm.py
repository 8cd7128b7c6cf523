"""Algorithms of Stable-Baselines3 without its environments: construction, metrics, state.

Its global randomness is contained, and its state is tensors: nothing is pickled.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.model_env import action_space
from mbrl.nn.global_rng import GlobalRng
from mbrl.types import ActionSpec


def make_algorithm(
    name: str, obs_dim: int, action: ActionSpec, rng: GlobalRng, num_envs: int, **settings: Any
) -> Any:
    """Build an algorithm of Stable-Baselines3 that owns no environment.

    Args:
        name: "SAC" or "PPO".
        obs_dim: length of an observation.
        action: the environment's actions.
        rng: SB3's own randomness.
        num_envs: environments that it will act in.
        settings: constructor arguments of the algorithm.

    Raises:
        BadInput: if the package is missing.
    """
    try:
        sb3 = importlib.import_module("stable_baselines3")
        logger = importlib.import_module("stable_baselines3.common.logger")
    except ModuleNotFoundError as error:
        raise BadInput(
            f"sb3_{name.lower()} needs {error.name}: pip install 'dynaplan[sb3]'"
        ) from None
    with rng:
        algorithm = getattr(sb3, name)("MlpPolicy", None, _init_setup_model=False, **settings)
        algorithm.observation_space = spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        algorithm.action_space = action_space(action)
        algorithm.n_envs = num_envs
        algorithm._setup_model()
    algorithm.set_logger(logger.Logger(None, []))
    algorithm.policy.set_training_mode(False)
    return algorithm


def metrics_of(algorithm: Any) -> dict[str, float]:
    """Return what the last train() recorded.

    Raises:
        NumericalFault: if a loss is not finite.
    """
    values = algorithm.logger.name_to_value.items()
    metrics = {key: float(value) for key, value in values if key.startswith("train/")}
    for key, value in metrics.items():
        if "loss" in key and not math.isfinite(value):
            name = type(algorithm).__name__
            raise NumericalFault(f"SB3 {name}: {key} is {value}; the data or learning_rate is off")
    return metrics


def save_optimizer(optimizer: torch.optim.Optimizer) -> list[dict[str, Tensor]]:
    """Return the moments of each parameter."""
    state = optimizer.state_dict()["state"]
    return [{key: x.clone() for key, x in state[i].items()} for i in sorted(state)]


def load_optimizer(optimizer: torch.optim.Optimizer, moments: list[dict[str, Tensor]]) -> None:
    """Restore the moments of save_optimizer."""
    state = {i: {key: x.clone() for key, x in m.items()} for i, m in enumerate(moments)}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_policy(policy: torch.nn.Module, saved: dict[str, Tensor]) -> None:
    """Restore the parameters of a policy.

    Raises:
        BadInput: if they are of networks of other sizes.
    """
    try:
        policy.load_state_dict(saved)
    except RuntimeError as error:
        raise BadInput(f"the saved SB3 policy does not fit: {error}") from None
