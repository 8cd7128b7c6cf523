"""Stable-Baselines3's SAC and PPO as policy learners: its networks and its train(), our data.

Its global randomness is contained, its state is kept as tensors; nothing is pickled.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.model_env import ImaginedVecEnv, action_space
from mbrl.nn.global_rng import GlobalRng
from mbrl.types import ActionSpec, Transitions


def make_algorithm(
    name: str, obs_dim: int, action: ActionSpec, rng: GlobalRng, num_envs: int, **settings: Any
) -> Any:
    """Make an algorithm of Stable-Baselines3 that owns no environment.

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
    """Read what the last train() recorded.

    Raises:
        NumericalFault: if a loss is not finite.
    """
    found = algorithm.logger.name_to_value.items()
    metrics = {key: float(value) for key, value in found if key.startswith("train/")}
    for key, value in metrics.items():
        if "loss" in key and not math.isfinite(value):
            kind = type(algorithm).__name__
            raise NumericalFault(f"SB3 {kind}: {key} is {value}; data or learning_rate are off")
    return metrics


def save_optimiser(optimiser: torch.optim.Optimizer) -> list[dict[str, Tensor]]:
    """Give the moments of each parameter."""
    state = optimiser.state_dict()["state"]
    return [{key: x.clone() for key, x in state[i].items()} for i in sorted(state)]


def load_optimiser(optimiser: torch.optim.Optimizer, moments: list[dict[str, Tensor]]) -> None:
    """Take the moments back."""
    state = {i: {key: x.clone() for key, x in m.items()} for i, m in enumerate(moments)}
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def load_policy(policy: torch.nn.Module, saved: dict[str, Tensor]) -> None:
    """Take parameters back.

    Raises:
        BadInput: if they are of networks of other sizes.
    """
    try:
        policy.load_state_dict(saved)
    except RuntimeError as error:
        raise BadInput(f"the saved SB3 policy does not fit: {error}") from None


class _Replay:
    """What SB3's train() asks of a replay buffer, answered from ours."""

    def __init__(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None,
        real_ratio: float,
        action: ActionSpec,
    ):
        self._parts = [(real, 1.0)]
        if imagined is not None and len(imagined):
            share = real_ratio if len(real) else 0.0
            self._parts = [(real, share), (imagined, 1.0 - share)]
        self._action = action

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Draw as SB3 does, from numpy's global generator; rows of the real buffer come first."""
        from stable_baselines3.common.type_aliases import ReplayBufferSamples

        num_real = round(self._parts[0][1] * batch_size)
        shares = [num_real, batch_size - num_real]
        drawn = [
            buffer.rows(torch.from_numpy(np.random.randint(0, len(buffer), size=count)))
            for (buffer, _), count in zip(self._parts, shares, strict=False)
            if count
        ]
        batch = Transitions(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
        low, high = self._action.low, self._action.high
        return ReplayBufferSamples(
            batch.obs,
            2.0 * ((batch.action - low) / (high - low)) - 1.0,
            batch.next_obs,
            batch.terminated[:, None].float(),  # truncation bootstraps
            batch.reward[:, None],
        )


class SB3SAC:
    """Train SAC of Stable-Baselines3 (Haarnoja et al. 2018) from our buffers; a PolicyLearner.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous.
        seed: of SB3's own randomness; the same one gives the same weights as SAC(seed=seed).
        hidden: width of the hidden layers of actor and critics.
        num_layers: hidden layers.
        learning_rate: of actor, critics and temperature.
        discount: per step.
        tau: share of the critics that enters their targets in an update.
        batch_size: transitions in an update.
        real_ratio: share of real transitions in a batch where there are imagined ones.
        device: of the networks; that of the buffers too.

    Raises:
        BadInput: if stable-baselines3 is missing, or the actions are discrete.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        seed: int = 0,
        hidden: int = 256,
        num_layers: int = 2,
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        tau: float = 5e-3,
        batch_size: int = 256,
        real_ratio: float = 0.05,
        device: torch.device | str = "cpu",
    ):
        """Let SB3 draw the networks."""
        if action.kind != "continuous":
            raise BadInput(
                "learner=sb3_sac takes continuous actions; the environment's are discrete: "
                "choose agent=sb3_ppo"
            )
        self._action = action
        self._real_ratio = real_ratio
        self._rng = GlobalRng(seed, device)
        self.algorithm = make_algorithm(
            "SAC",
            obs_dim,
            action,
            self._rng,
            num_envs=1,
            learning_rate=learning_rate,
            buffer_size=1,
            batch_size=batch_size,
            tau=tau,
            gamma=discount,
            target_entropy=-float(action.dim),
            policy_kwargs={"net_arch": [hidden] * num_layers},
            device=device,
        )

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        mean, log_std, _ = self.algorithm.actor.get_action_dist_params(obs)
        if not deterministic:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = mean + log_std.exp() * noise
        low, high = self._action.low, self._action.high
        return self._action.clip(low + 0.5 * (mean.tanh() + 1.0) * (high - low))

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ImaginedVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Take num_updates of SB3's gradient steps; see PolicyLearner.

        Raises:
            NumericalFault: if a loss is not finite.
        """
        if num_updates < 1:
            return {}
        algorithm = self.algorithm
        algorithm.replay_buffer = _Replay(real, imagined, self._real_ratio, self._action)
        with self._rng:
            algorithm.train(gradient_steps=num_updates, batch_size=algorithm.batch_size)
        algorithm.replay_buffer = None
        algorithm.policy.set_training_mode(False)
        return metrics_of(algorithm)

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim): the lesser critic at the mean action."""
        mean, _, _ = self.algorithm.actor.get_action_dist_params(obs)
        return torch.cat(self.algorithm.critic(obs, mean.tanh()), dim=1).amin(1)

    def state_dict(self) -> dict[str, Any]:
        """Give networks, temperature, the moments of three optimisers, and SB3's generators."""
        algorithm = self.algorithm
        return {
            "policy": {name: x.clone() for name, x in algorithm.policy.state_dict().items()},
            "log_ent_coef": algorithm.log_ent_coef.detach().clone(),
            "optimisers": {name: save_optimiser(o) for name, o in self._optimisers().items()},
            "num_updates": algorithm._n_updates,
            "rng": self._rng.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit.

        Raises:
            BadInput: if the state is of networks of other sizes.
        """
        load_policy(self.algorithm.policy, state["policy"])
        with torch.no_grad():
            self.algorithm.log_ent_coef.copy_(state["log_ent_coef"])
        for name, optimiser in self._optimisers().items():
            load_optimiser(optimiser, state["optimisers"][name])
        self.algorithm._n_updates = state["num_updates"]
        self._rng.load_state_dict(state["rng"])

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Name the optimisers."""
        algorithm = self.algorithm
        return {
            "actor": algorithm.actor.optimizer,
            "critic": algorithm.critic.optimizer,
            "ent_coef": algorithm.ent_coef_optimizer,
        }
