"""On-policy learning on the environment itself, with PPO of Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.learners.sb3_ppo import SB3PPO, Sampled
from mbrl.roles import Agent, EnvState
from mbrl.types import ActionSpec, Transitions


class OnPolicy(Agent):
    """Act with PPO (Schulman et al. 2017), keep its own rollout, train when that is full.

    Step for step what Stable-Baselines3's learn() does, from the same seed to the same weights.

    Args:
        action: the environment's actions.
        num_envs: E.
        learner: its policy and train().
        generator: not drawn from; SB3's randomness is the learner's.
        num_steps: steps of each environment in a rollout.

    Raises:
        BadInput: if a rollout would be a single transition.
    """

    _KEPT = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs")

    def __init__(
        self,
        *,
        action: ActionSpec,
        num_envs: int,
        learner: SB3PPO,
        generator: torch.Generator,
        num_steps: int = 2048,
    ):
        """Make room for a rollout."""
        algorithm = learner.algorithm
        if num_steps * num_envs < 2:
            raise BadInput("agent.num_steps=1: a rollout needs at least two transitions")
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

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose actions (E, act_dim); in training, remember what train() will ask for."""
        if not explore:
            return self.learner.select(obs, generator=self._generator, deterministic=True)
        self._pending = self.learner.sample(obs)
        return self.learner.to_env(self._pending.raw)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Add the last step of every environment to the rollout; train when it is full."""
        if self._pending is None:
            return {}
        raw, value, log_prob = self._pending
        self._pending = None
        newest = torch.arange(buffer.num_added - self._num_envs, buffer.num_added)
        # a view of packed rows would take another path through the matrix product, and round apart
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
        """Give the rewards (E,), with the value of what a truncation cut off."""
        algorithm = self.learner.algorithm
        reward = step.reward.cpu().numpy().copy()
        cut = step.truncated & ~step.terminated
        for i in torch.nonzero(cut).flatten().tolist():
            beyond = algorithm.policy.predict_values(step.next_obs[i : i + 1])[0]
            reward[i] += (algorithm.gamma * beyond).item()
        return reward

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget nothing: the policy has no memory."""

    def state_dict(self) -> dict[str, Any]:
        """Give the learner and the rollout so far."""
        rollout = self._rollout
        return {
            "learner": self.learner.state_dict(),
            "rollout": {
                name: torch.from_numpy(getattr(rollout, name)[: rollout.pos].copy())
                for name in self._KEPT
            },
            "starts": torch.from_numpy(self._starts.copy()),
            "metrics": self._metrics,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit."""
        self.learner.load_state_dict(state["learner"])
        self._rollout.reset()
        for name, rows in state["rollout"].items():
            getattr(self._rollout, name)[: len(rows)] = rows.cpu().numpy()
        self._rollout.pos = len(state["rollout"]["rewards"])
        self._starts = state["starts"].cpu().numpy()
        self._metrics = state["metrics"]
        self._pending = None
