"""SAC of Stable-Baselines3: its networks and its train(), on our buffers."""

from __future__ import annotations

from typing import Annotated, Any, final

import numpy as np
import torch
from annotated_types import Gt, Le
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
from mbrl.learners.unit_actions import UnitActions
from mbrl.nn.global_rng import GlobalRng
from mbrl.nn.products import products_of
from mbrl.roles import ModelVecEnv
from mbrl.types import ActionSpec, Transitions, as_rows
from mbrl.values import Count, Depth, Fraction, Positive, Width, checked


class _Replay:
    """Adapter that lets SB3's train() sample from our buffers."""

    def __init__(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None,
        real_ratio: float,
        units: UnitActions,
    ):
        self._parts = [(real, 1.0)]
        if imagined is not None and len(imagined):
            fraction = real_ratio if len(real) else 0.0
            self._parts = [(real, fraction), (imagined, 1.0 - fraction)]
        self._units = units

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Sample as SB3 does, from numpy's global generator; real transitions come first."""
        from stable_baselines3.common.type_aliases import ReplayBufferSamples

        num_real = round(self._parts[0][1] * batch_size)
        counts = [num_real, batch_size - num_real]
        parts = [
            buffer.rows(torch.from_numpy(np.random.randint(0, len(buffer), size=count)))
            for (buffer, _), count in zip(self._parts, counts, strict=False)
            if count
        ]
        batch = Transitions(*(torch.cat(column) for column in zip(*parts, strict=True)))
        low, high = self._units.spec()[1:3]
        return ReplayBufferSamples(
            batch.obs,
            2.0 * ((self._units.select(batch.action) - low) / (high - low)) - 1.0,
            batch.next_obs,
            batch.terminated[:, None].float(),  # truncation bootstraps
            batch.reward[:, None],
        )


@final
class SB3SAC:
    """SAC learner of Stable-Baselines3 (Haarnoja et al. 2018) on our buffers.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous.
        seed: of SB3's own randomness; the same one gives the same weights as SAC(seed=seed).
        hidden: width of the hidden layers of actor and critics.
        num_layers: hidden layers.
        learning_rate: step size of actor, critics and temperature.
        discount: per step.
        tau: step of the target critics towards the critics at each update.
        batch_size: transitions in an update.
        real_ratio: fraction of real transitions in a batch, if there are imagined ones.
        device: of networks and buffers.

    Raises:
        BadInput: if stable-baselines3 is missing, or the actions are discrete.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        seed: int = 0,
        hidden: Width = 256,
        num_layers: Depth = 2,
        learning_rate: Positive = 3e-4,
        discount: Fraction = 0.99,
        tau: Annotated[float, Gt(0), Le(1)] = 5e-3,
        batch_size: Count = 256,
        real_ratio: Fraction = 0.05,
        device: torch.device | str = "cpu",
    ):
        """Initialize the networks as SB3 does."""
        if action.kind != "continuous":
            raise BadInput(
                "action: SAC takes continuous actions; these are discrete: use agent=sb3_ppo"
            )
        self._units = UnitActions(action, device)
        self._real_ratio = real_ratio
        self._rng = GlobalRng(seed, device)
        self._obs_dim = obs_dim
        self._products = products_of(batch_size, hidden, hidden)
        self.algorithm = make_algorithm(
            "SAC",
            obs_dim,
            self._units.spec(),
            self._rng,
            num_envs=1,
            learning_rate=learning_rate,
            buffer_size=1,
            batch_size=batch_size,
            tau=tau,
            gamma=discount,
            target_entropy=-float(self._units.dim),
            policy_kwargs={"net_arch": [hidden] * num_layers},
            device=device,
        )

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        mean, log_std, _ = self.algorithm.actor.get_action_dist_params(self._rows(obs))
        if not deterministic:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = mean + log_std.exp() * noise
        low, high = self._units.spec()[1:3]
        return self._units.complete(low + 0.5 * (mean.tanh() + 1.0) * (high - low))

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ModelVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Update the networks by num_updates of SB3's gradient steps; see PolicyLearner.

        Raises:
            NumericalFault: if a loss is not finite.
        """
        if num_updates < 1:
            return {}
        algorithm = self.algorithm
        algorithm.replay_buffer = _Replay(real, imagined, self._real_ratio, self._units)
        with self._rng, self._products:
            algorithm.train(gradient_steps=num_updates, batch_size=algorithm.batch_size)
        algorithm.replay_buffer = None
        algorithm.policy.set_training_mode(False)
        return metrics_of(algorithm)

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from obs (B, obs_dim): the smaller critic value."""
        obs = self._rows(obs)
        mean, _, _ = self.algorithm.actor.get_action_dist_params(obs)
        return torch.cat(self.algorithm.critic(obs, mean.tanh()), dim=1).amin(1)

    def _rows(self, obs: Tensor) -> Tensor:
        """Return checked observations (B, obs_dim)."""
        return as_rows("obs", obs, width=self._obs_dim, device=self.algorithm.device)

    def state_dict(self) -> dict[str, Any]:
        """Return networks, temperature, the moments of three optimizers, and SB3's generators."""
        algorithm = self.algorithm
        return {
            "policy": {name: x.clone() for name, x in algorithm.policy.state_dict().items()},
            "log_ent_coef": algorithm.log_ent_coef.detach().clone(),
            "optimisers": {name: save_optimizer(o) for name, o in self._optimizers().items()},
            "num_updates": algorithm._n_updates,
            "rng": self._rng.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            BadInput: if it is of networks of other sizes.
        """
        load_policy(self.algorithm.policy, state["policy"])
        with torch.no_grad():
            self.algorithm.log_ent_coef.copy_(state["log_ent_coef"])
        for name, optimizer in self._optimizers().items():
            load_optimizer(optimizer, state["optimisers"][name])
        self.algorithm._n_updates = state["num_updates"]
        self._rng.load_state_dict(state["rng"])

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by name."""
        algorithm = self.algorithm
        return {
            "actor": algorithm.actor.optimizer,
            "critic": algorithm.critic.optimizer,
            "ent_coef": algorithm.ent_coef_optimizer,
        }
