"""An off-policy learner that lives inside a model: act there, remember, learn from that."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.model_env import ImaginedVecEnv
from mbrl.nn.generators import restore
from mbrl.roles import CountsPolicyParameters, PolicyLearner
from mbrl.types import ActionSpec, Transitions


class InModelLearner:
    """Make a ModelEnvLearner of an off-policy learner, as SINDy-RL has it (Zolman et al. 2024).

    Model-based RL on a fast model needs no short branched rollouts: SINDy-RL (Zolman et al. 2024)
    trains a model-free learner in whole imagined episodes. What was imagined in an earlier model
    is forgotten with it; the networks are kept.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        learner: learns from what is seen in the model.
        generator: source of the actions' randomness.
        num_model_envs: imagined environments stepped side by side.
        num_steps: vector steps of an iteration.
        updates_per_step: learner updates per vector step.
        learning_starts: imagined transitions before the first of them.
        capacity: imagined transitions kept.
        device: of the imagined transitions.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        learner: PolicyLearner,
        generator: torch.Generator,
        num_model_envs: int = 32,
        num_steps: int = 1000,
        updates_per_step: int = 1,
        learning_starts: int = 1000,
        capacity: int = 200_000,
        device: torch.device | str = "cpu",
    ):
        """Take the learner; nothing is imagined yet."""
        self.learner = learner
        self.num_model_envs = num_model_envs
        self._generator = generator
        self._num_steps = num_steps
        self._updates_per_step = updates_per_step
        self._learning_starts = learning_starts
        self._imagined = ReplayBuffer(capacity, obs_dim, action.dim, device)

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) for obs (B, obs_dim)."""
        return self.learner.select(obs, generator=generator, deterministic=deterministic)

    @property
    def num_policy_parameters(self) -> int | None:
        """Return the number of the policy's weights; None if the learner does not count them."""
        learner = self.learner
        return (
            learner.num_policy_parameters if isinstance(learner, CountsPolicyParameters) else None
        )

    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim)."""
        return self.learner.value(obs)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ImaginedVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Act and learn in the model for num_updates iterations of num_steps vector steps.

        Args:
            real: transitions of the environment, for the learner to mix in.
            imagined: not used.
            model_env: num_model_envs imagined environments.
            num_updates: iterations.

        Raises:
            BadInput: if there is no model.
        """
        if num_updates < 1:
            return {}
        if model_env is None:
            raise BadInput("learner=sac_in_model learns inside a model; agent=sindy_rl has one")
        own = self._imagined
        own.clear()
        obs = model_env.reset()
        earned = torch.zeros((), device=obs.device)
        metrics: dict[str, float] = {}
        episode = torch.zeros(obs.shape[0], dtype=torch.int64, device=obs.device)
        for _ in range(num_updates * self._num_steps):
            action = self.learner.select(obs, generator=self._generator)
            step = model_env.step(action)
            own.add(
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
            earned += step.reward.mean()
            if own.num_added >= self._learning_starts:
                metrics = self.learner.improve(real, own, num_updates=self._updates_per_step)
        mean = earned.item() / (num_updates * self._num_steps)
        return {**metrics, "train/model_reward_mean": mean}

    def state_dict(self) -> dict[str, Any]:
        """Give the learner and the generator: nothing imagined outlives a call."""
        return {"learner": self.learner.state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit."""
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
