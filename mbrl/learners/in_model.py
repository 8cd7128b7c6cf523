"""Off-policy learner inside a model: it acts there and learns from those transitions."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import CountsPolicyParameters, ModelVecEnv, PolicyLearner
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, NumEnvs, checked


@final
class InModelLearner:
    """Off-policy learner that collects whole episodes inside a model; a ModelEnvLearner.

    SINDy-RL (Zolman et al. 2024) trains a model-free learner in this way. Transitions of an earlier
    model are dropped; the networks go on.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        learner: learns from the transitions in the model.
        generator: source of the actions' randomness.
        num_model_envs: environments in the model, stepped at once.
        num_steps: vector steps of an iteration (one update of improve()).
        updates_per_step: learner updates per vector step.
        learning_starts: transitions in the model before the first of these updates.
        capacity: transitions that are stored.
        device: of the stored transitions.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        learner: PolicyLearner,
        generator: torch.Generator | int,
        num_model_envs: NumEnvs = 32,
        num_steps: Count = 1000,
        updates_per_step: Count = 1,
        learning_starts: Count = 1000,
        capacity: Count = 200_000,
        device: torch.device | str = "cpu",
    ):
        """Allocate the buffer of transitions in the model."""
        generator = as_generator(generator, device)
        self.learner = learner
        self.num_model_envs = num_model_envs
        self._generator = generator
        self._num_steps = num_steps
        self._updates_per_step = updates_per_step
        self._learning_starts = learning_starts
        self._buffer = ReplayBuffer(capacity, obs_dim, action.dim, device)

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) for obs (B, obs_dim)."""
        return self.learner.select(obs, generator=generator, deterministic=deterministic)

    @property
    def num_policy_parameters(self) -> int | None:
        """Return the number of the policy's weights; None if the learner does not count them."""
        learner = self.learner
        return (
            learner.num_policy_parameters if isinstance(learner, CountsPolicyParameters) else None
        )

    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from obs (B, obs_dim)."""
        return self.learner.value(obs)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ModelVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Run num_updates iterations: act in the model for num_steps vector steps and learn.

        Args:
            real: transitions of the environment, which the learner may mix in.
            imagined: not used.
            model_env: the model as num_model_envs environments.
            num_updates: iterations.

        Raises:
            BadInput: if there is no model.
        """
        if num_updates < 1:
            return {}
        if model_env is None:
            raise BadInput(
                "model_env: InModelLearner learns inside a model; agent=sindy_rl has one"
            )
        buffer = self._buffer
        buffer.clear()
        obs = model_env.reset()
        total_reward = torch.zeros((), device=obs.device)
        metrics: dict[str, float] = {}
        episode = torch.zeros(obs.shape[0], dtype=torch.int64, device=obs.device)
        for _ in range(num_updates * self._num_steps):
            action = self.learner.select(obs, generator=self._generator)
            step = model_env.step(action)
            buffer.add(
                Transitions(
                    obs,
                    action,
                    step.reward,
                    step.next_obs,
                    step.terminated,
                    step.truncated,
                    episode,
                )
            )
            obs = step.obs
            total_reward += step.reward.mean()
            if buffer.num_added >= self._learning_starts:
                metrics = self.learner.improve(real, buffer, num_updates=self._updates_per_step)
        mean = total_reward.item() / (num_updates * self._num_steps)
        return {**metrics, "train/model_reward_mean": mean}

    def state_dict(self) -> dict[str, Any]:
        """Return learner and generator; the transitions in the model are those of one call."""
        return {"learner": self.learner.state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
