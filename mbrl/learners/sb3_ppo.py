"""PPO of Stable-Baselines3: inside a model, or in the environment itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, NamedTuple, final

import torch
from annotated_types import Ge
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.learners.sb3_algorithm import (
    load_optimizer,
    load_policy,
    make_algorithm,
    metrics_of,
    save_optimizer,
)
from mbrl.nn.global_rng import GlobalRng
from mbrl.nn.products import products_of
from mbrl.roles import ModelVecEnv
from mbrl.types import ActionSpec, as_rows
from mbrl.values import Count, Depth, Fraction, NonNegative, NumEnvs, Positive, Width, checked


class Sampled(NamedTuple):
    """Actions of PPO with what its update needs of them."""

    raw: Tensor  # (E, act_dim) before clipping; (E,) indices of discrete actions
    value: Tensor  # (E, 1)
    log_prob: Tensor  # (E,)


@final
@checked
@dataclass(frozen=True)
class PPOLoss:
    """Loss of PPO (Schulman et al. 2017).

    Args:
        gae_lambda: trade-off of bias and variance in the advantages.
        clip_range: distance from 1 at which the ratio of new to old policy is clipped.
        ent_coef: weight of the entropy.
        vf_coef: weight of the value's loss.
        max_grad_norm: largest norm of a gradient; longer ones are scaled down.
    """

    gae_lambda: Fraction = 0.95
    clip_range: Positive = 0.2
    ent_coef: NonNegative = 0.0
    vf_coef: NonNegative = 0.5
    max_grad_norm: Positive = 0.5


@final
class SB3PPO:
    """PPO learner of Stable-Baselines3 (Schulman et al. 2017); a ModelEnvLearner.

    In a model it is the inner loop of SINDy-RL (Zolman et al. 2024).

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        seed: of SB3's own randomness; the same one gives the same weights as PPO(seed=seed).
        hidden: width of the hidden layers of policy and value.
        num_layers: hidden layers.
        learning_rate: step size of Adam.
        discount: per step.
        loss: weights and limits of the loss.
        batch_size: transitions in a gradient step.
        num_epochs: passes over a rollout.
        num_model_envs: environments in the model, stepped at once.
        num_steps: steps of each environment in the model in an iteration.
        device: of the networks.

    Raises:
        BadInput: if stable-baselines3 is missing.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        seed: int = 0,
        hidden: Width = 64,
        num_layers: Depth = 2,
        learning_rate: Positive = 3e-4,
        discount: Fraction = 0.99,
        loss: PPOLoss = PPOLoss(),
        batch_size: Annotated[int, Ge(2)] = 64,
        num_epochs: Count = 10,
        num_model_envs: NumEnvs = 16,
        num_steps: Count = 128,
        device: torch.device | str = "cpu",
    ):
        """Initialize the networks as SB3 does."""
        self._action = action
        self._rng = GlobalRng(seed, device)
        self.num_model_envs = num_model_envs
        layers = [hidden] * num_layers
        self._obs_dim = obs_dim
        self._products = products_of(batch_size, hidden, hidden)
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
            **asdict(loss),
            policy_kwargs={"net_arch": {"pi": layers, "vf": layers}},
            device=device,
        )

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        policy = self.algorithm.policy.get_distribution(self._rows(obs)).distribution
        if self._action.kind == "discrete":
            if deterministic:
                return self.to_env(policy.probs.argmax(1))
            return self.to_env(torch.multinomial(policy.probs, 1, generator=generator)[:, 0])
        if deterministic:
            return self.to_env(policy.mean)
        noise = torch.randn(policy.mean.shape, generator=generator, device=policy.mean.device)
        return self.to_env(policy.mean + policy.stddev * noise)

    @torch.no_grad()
    def sample(self, obs: Tensor) -> Sampled:
        """Sample actions for obs (E, obs_dim) as PPO does in rollouts, by SB3's randomness."""
        with self._rng:
            return Sampled(*self.algorithm.policy(obs))

    def to_env(self, raw: Tensor) -> Tensor:
        """Return actions (B, act_dim) for raw ones (B, act_dim), or for indices (B,)."""
        if self._action.kind == "discrete":
            one_hot = torch.nn.functional.one_hot(raw, self._action.num_actions)
            return one_hot.to(self._action.low.dtype)
        return self._action.clip(raw)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ModelVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Run num_updates iterations of rollout and train() inside the model.

        Args:
            real: not used.
            imagined: not used.
            model_env: the model as num_model_envs environments.
            num_updates: iterations.

        Raises:
            BadInput: if there is no model.
            NumericalFault: if a loss is not finite.
        """
        if num_updates < 1:
            return {}
        if model_env is None:
            raise BadInput(
                "model_env: SB3PPO needs the model as an environment; agent=sindy_rl has one, and "
                "agent=sb3_ppo is PPO in the environment itself"
            )
        from mbrl.imagination.sb3_env import SB3ModelEnv

        algorithm = self.algorithm
        with self._rng, self._products:
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
        with self._rng, self._products:
            self.algorithm.train()
        self.algorithm.policy.set_training_mode(False)
        return metrics_of(self.algorithm)

    @property
    def num_policy_parameters(self) -> int:
        """Return the number of weights that lead to an action; those of the value do not."""
        weights = self.algorithm.policy.named_parameters()
        return sum(w.numel() for name, w in weights if "value" not in name)

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from obs (B, obs_dim)."""
        return self.algorithm.policy.predict_values(self._rows(obs))[:, 0]

    def _rows(self, obs: Tensor) -> Tensor:
        """Return checked observations (B, obs_dim)."""
        device = self.algorithm.device
        return as_rows("obs", obs, width=self._obs_dim, device=device, finite=True)

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizer moments and SB3's generators."""
        policy = self.algorithm.policy
        return {
            "policy": {name: x.clone() for name, x in policy.state_dict().items()},
            "optimiser": save_optimizer(policy.optimizer),
            "num_updates": self.algorithm._n_updates,
            "rng": self._rng.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            BadInput: if it is of networks of other sizes.
        """
        load_policy(self.algorithm.policy, state["policy"])
        load_optimizer(self.algorithm.policy.optimizer, state["optimiser"])
        self.algorithm._n_updates = state["num_updates"]
        self._rng.load_state_dict(state["rng"])
