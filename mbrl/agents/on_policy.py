"""On-policy agent: PPO of Stable-Baselines3 in the environment itself."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.learners.sb3_ppo import SB3PPO, Sampled
from mbrl.nn.generators import as_generator
from mbrl.roles import Agent
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, NumEnvs, checked


@final
class OnPolicy(Agent):
    """PPO agent (Schulman et al. 2017) with SB3's networks and updates.

    It computes what Stable-Baselines3's learn() does, from the same seed to the same weights.

    Args:
        action: the environment's actions.
        num_envs: E.
        learner: the policy and its updates.
        generator: not drawn from: SB3's randomness belongs to the learner.
        num_steps: steps of each environment in a rollout; the policy is updated after each rollout.

    Raises:
        BadInput: if a rollout would be a single transition.
    """

    _SAVED = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs")

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        num_envs: NumEnvs,
        learner: SB3PPO,
        generator: torch.Generator | int,
        num_steps: Count = 2048,
    ):
        """Allocate the rollout buffer."""
        generator = as_generator(generator, action.low.device)
        algorithm = learner.algorithm
        if num_steps * num_envs < 2:
            raise BadInput("num_steps=1: a rollout needs at least two transitions")
        self.learner = learner
        self._action = action
        self._generator = generator
        self._num_envs = num_envs
        self._rollout = algorithm.rollout_buffer_class(
            num_steps,
            algorithm.observation_space,
            algorithm.action_space,
            device=algorithm.device,
            gamma=algorithm.gamma,
            gae_lambda=algorithm.gae_lambda,
            n_envs=num_envs,
        )
        self._starts = np.ones(num_envs, dtype=bool)  # (E,) an episode begins here
        self._pending: Sampled | None = None  # between act and update
        self._metrics: dict[str, float] = {}

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim); in training, also store what the update will need."""
        if not explore:
            return self.learner.select(obs, generator=self._generator, deterministic=True)
        self._pending = self.learner.sample(obs)
        return self.learner.to_env(self._pending.raw)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Add the last step of each environment to the rollout; update the policy if it is full."""
        if self._pending is None:
            return {}
        raw, value, log_prob = self._pending
        self._pending = None
        newest = torch.arange(buffer.num_added - self._num_envs, buffer.num_added)
        # contiguous: on a view of packed rows the matrix product would round differently
        step = Transitions(*(x.contiguous() for x in buffer.rows(newest % buffer.capacity)))
        done = (step.terminated | step.truncated).cpu().numpy()
        self._rollout.add(
            step.obs.cpu().numpy(),
            raw.cpu().numpy().reshape(self._num_envs, -1),
            self._with_bootstrap(step),
            self._starts,
            value,
            log_prob,
        )
        self._starts = done
        if self._rollout.full:
            with torch.no_grad():
                last = self.learner.algorithm.policy.predict_values(step.next_obs)
            self._rollout.compute_returns_and_advantage(last, done)
            self._metrics = self.learner.train_on(self._rollout)
            self._rollout.reset()
        return self._metrics

    @torch.no_grad()
    def _with_bootstrap(self, step: Transitions) -> np.ndarray:
        """Return the rewards (E,) of step, plus the discounted value where it was truncated."""
        algorithm = self.learner.algorithm
        reward = step.reward.cpu().numpy().copy()
        cut = step.truncated & ~step.terminated
        for i in torch.nonzero(cut).flatten().tolist():
            value = algorithm.policy.predict_values(step.next_obs[i : i + 1])[0]
            reward[i] += (algorithm.gamma * value).item()
        return reward

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: a policy has no episode memory."""

    def state_dict(self) -> dict[str, Any]:
        """Return the learner and the rollout so far."""
        rollout = self._rollout
        return {
            "learner": self.learner.state_dict(),
            "rollout": {
                name: torch.from_numpy(getattr(rollout, name)[: rollout.pos].copy())
                for name in self._SAVED
            },
            "starts": torch.from_numpy(self._starts.copy()),
            "metrics": self._metrics,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.learner.load_state_dict(state["learner"])
        self._rollout.reset()
        for name, rows in state["rollout"].items():
            getattr(self._rollout, name)[: len(rows)] = rows.cpu().numpy()
        self._rollout.pos = len(state["rollout"]["rewards"])
        self._starts = state["starts"].cpu().numpy()
        self._metrics = state["metrics"]
        self._pending = None
