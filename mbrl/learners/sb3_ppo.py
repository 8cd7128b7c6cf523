"""PPO of Stable-Baselines3: inside a model, or on the environment itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.model_env import ImaginedVecEnv
from mbrl.learners.sb3_sac import (
    load_optimiser,
    load_policy,
    make_algorithm,
    metrics_of,
    save_optimiser,
)
from mbrl.nn.global_rng import GlobalRng
from mbrl.types import ActionSpec


class Sampled(NamedTuple):
    """What PPO remembers of acting."""

    raw: Tensor  # (E, act_dim) before clipping; (E,) indices of discrete actions
    value: Tensor  # (E, 1)
    log_prob: Tensor  # (E,)


class SB3PPO:
    """Train PPO of Stable-Baselines3 inside a model; a PolicyLearner.

    Schulman et al. 2017 (PPO); in a model it is the inner loop of SINDy-RL (Zolman et al. 2024).

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        seed: of SB3's own randomness; the same one gives the same weights as PPO(seed=seed).
        hidden: width of the hidden layers of policy and value.
        num_layers: hidden layers.
        learning_rate: of Adam.
        discount: per step.
        gae_lambda: trade-off of bias and variance in the advantages.
        clip_range: how far the policy's ratio may move.
        ent_coef: weight of the entropy.
        vf_coef: weight of the value's loss.
        max_grad_norm: gradients are clipped to it.
        batch_size: transitions in a gradient step.
        num_epochs: passes over a rollout.
        num_model_envs: imagined environments stepped side by side.
        num_steps: steps of each imagined environment in an iteration.
        device: of the networks.

    Raises:
        BadInput: if stable-baselines3 is missing.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        seed: int = 0,
        hidden: int = 64,
        num_layers: int = 2,
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float = 0.2,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        batch_size: int = 64,
        num_epochs: int = 10,
        num_model_envs: int = 16,
        num_steps: int = 128,
        device: torch.device | str = "cpu",
    ):
        """Let SB3 draw the networks."""
        self._action = action
        self._rng = GlobalRng(seed, device)
        self.num_model_envs = num_model_envs
        layers = [hidden] * num_layers
        self.algorithm = make_algorithm(
            "PPO",
            obs_dim,
            action,
            self._rng,
            num_envs=num_model_envs,
            learning_rate=learning_rate,
            n_steps=num_steps,
            batch_size=batch_size,
            n_epochs=num_epochs,
            gamma=discount,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            policy_kwargs={"net_arch": {"pi": layers, "vf": layers}},
            device=device,
        )

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        law = self.algorithm.policy.get_distribution(obs).distribution
        if self._action.kind == "discrete":
            if deterministic:
                return self.to_env(law.probs.argmax(1))
            return self.to_env(torch.multinomial(law.probs, 1, generator=generator)[:, 0])
        if deterministic:
            return self.to_env(law.mean)
        noise = torch.randn(law.mean.shape, generator=generator, device=law.mean.device)
        return self.to_env(law.mean + law.stddev * noise)

    @torch.no_grad()
    def sample(self, obs: Tensor) -> Sampled:
        """Act on obs (E, obs_dim) as PPO does in its own rollouts, from SB3's own randomness."""
        with self._rng:
            return Sampled(*self.algorithm.policy(obs))

    def to_env(self, raw: Tensor) -> Tensor:
        """Turn raw (B, act_dim), or indices (B,) of discrete actions, into actions (B, act_dim)."""
        if self._action.kind == "discrete":
            one_hot = torch.nn.functional.one_hot(raw, self._action.num_actions)
            return one_hot.to(self._action.low.dtype)
        return self._action.clip(raw)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ImaginedVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Take num_updates iterations of rollout and train() inside the model.

        Args:
            real: not used.
            imagined: not used.
            model_env: num_model_envs imagined environments.
            num_updates: iterations.

        Raises:
            BadInput: if there is no model.
            NumericalFault: if a loss is not finite.
        """
        if num_updates < 1:
            return {}
        if model_env is None:
            raise BadInput(
                "learner=sb3_ppo learns inside a model; agent=mbpo has one, and agent=sb3_ppo is "
                "PPO on the environment itself"
            )
        from mbrl.imagination.sb3_env import SB3ModelEnv

        algorithm = self.algorithm
        with self._rng:
            algorithm.set_env(SB3ModelEnv(model_env))
            algorithm.learn(num_updates * algorithm.n_steps * algorithm.n_envs)
        algorithm.env = algorithm._last_obs = None
        algorithm.policy.set_training_mode(False)
        metrics = metrics_of(algorithm)
        if algorithm.ep_info_buffer:
            returns = [episode["r"] for episode in algorithm.ep_info_buffer]
            metrics["train/model_ep_rew_mean"] = sum(returns) / len(returns)
        return metrics

    def train_on(self, rollout: Any) -> dict[str, float]:
        """Train on a full rollout buffer of SB3.

        Raises:
            NumericalFault: if a loss is not finite.
        """
        self.algorithm.rollout_buffer = rollout
        with self._rng:
            self.algorithm.train()
        self.algorithm.policy.set_training_mode(False)
        return metrics_of(self.algorithm)

    @property
    def num_policy_parameters(self) -> int:
        """Count the weights that lead to an action; those of the value are not among them."""
        weights = self.algorithm.policy.named_parameters()
        return sum(w.numel() for name, w in weights if "value" not in name)

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim)."""
        return self.algorithm.policy.predict_values(obs)[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Give networks, optimiser moments and SB3's generators."""
        policy = self.algorithm.policy
        return {
            "policy": {name: x.clone() for name, x in policy.state_dict().items()},
            "optimiser": save_optimiser(policy.optimizer),
            "num_updates": self.algorithm._n_updates,
            "rng": self._rng.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit.

        Raises:
            BadInput: if the state is of networks of other sizes.
        """
        load_policy(self.algorithm.policy, state["policy"])
        load_optimiser(self.algorithm.policy.optimizer, state["optimiser"])
        self.algorithm._n_updates = state["num_updates"]
        self._rng.load_state_dict(state["rng"])
