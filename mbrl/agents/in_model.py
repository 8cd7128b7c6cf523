"""SINDy-RL's agent: a learner that is trained in whole episodes inside the model."""

from __future__ import annotations

import logging
from typing import Any, final

import torch
from torch import Tensor

from mbrl.agents.rollback import Rollback
from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.hold import ActionHold
from mbrl.imagination.model_env import ImaginedVecEnv
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import Agent, Dynamics, ModelEnvLearner, Penalty, refusal_of
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, Finite, NonNegative, checked

_log = logging.getLogger(__name__)


@final
class InModelAgent(Agent):
    """Agent whose learner collects its rollouts inside the model (SINDy-RL, Zolman et al. 2024).

    After each refit the model becomes a vector environment, in which the learner is trained, unless
    the model refuses to be used for control (see MayRefuse).

    Args:
        action: the environment's actions.
        dynamics: the model, refitted as data come in.
        learner: the policy; it acts and learns in the model.
        generator: source of the agent's randomness.
        penalty: subtracted from the rewards of model rollouts; None for nothing.
        learning_starts: transitions of uniform random actions before learning begins.
        retrain_interval: transitions between refits of the model.
        updates_per_refit: iterations of the learner after each refit.
        max_episode_steps: time limit of an episode, in the model too; None for none.
        action_hold: environment steps for which each action is held, in the model too.
        invalid_state_value: terminal value assigned when a model rollout leaves the region where
            the model is valid; None bootstraps from the critic instead. It should be below what a
            policy can earn, or leaving the region pays.
        rollback_tolerance: restore the best policy so far if the current return drops by more than
            this fraction of (best return - random return). None disables rollback.
        total_steps: transitions of the run. With rollback, the last policies are measured and no
            further ones are made; None if unknown.

    Raises:
        BadInput: if the dynamics are a simulator, or the learner does not act in a model.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        dynamics: Dynamics,
        learner: ModelEnvLearner,
        generator: torch.Generator | int,
        penalty: Penalty | None = None,
        learning_starts: Count = 500,
        retrain_interval: Count = 250,
        updates_per_refit: Count = 10,
        max_episode_steps: int | None = None,
        action_hold: Count = 1,
        invalid_state_value: Finite | None = None,
        rollback_tolerance: NonNegative | None = None,
        total_steps: int | None = None,
    ):
        """Store the parts."""
        generator = as_generator(generator, action.low.device)
        if not dynamics.learned:
            raise BadInput(
                "dynamics: episodes in the model start from stored observations, which do not hold "
                "a simulator's state; choose a learned model, or a planning agent such as pets"
            )
        if not isinstance(learner, ModelEnvLearner):
            raise BadInput(
                f"learner: {type(learner).__name__} does not act in a model; choose "
                "learner=sac_in_model (InModelLearner) or sb3_ppo (SB3PPO)"
            )
        self._action = action
        self.dynamics = dynamics
        self.learner = learner
        self._generator = generator
        self._penalty = penalty
        self._learning_starts = learning_starts
        self._retrain_interval = retrain_interval
        self._updates_per_refit = updates_per_refit
        self._max_episode_steps = max_episode_steps
        self._action_hold = action_hold
        self._invalid_state_value = invalid_state_value
        self._rollback = None
        if rollback_tolerance is not None:
            self._rollback = Rollback(learner, rollback_tolerance, max_episode_steps)
        self._total_steps = total_steps
        self._holds = {explore: ActionHold(action_hold) for explore in (True, False)}
        self._num_transitions = 0  # real ones so far
        self._next_fit = learning_starts
        self._num_measured = 0  # transitions that rollback has used

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim); uniform random ones before learning begins."""
        if explore and self._num_transitions < self._learning_starts:
            action = self._action.sample(obs.shape[0], generator=self._generator)
        else:
            action = self.learner.select(obs, generator=self._generator, deterministic=not explore)
        return self._holds[explore](action)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Roll back, refit the model and train the learner inside it, when due."""
        self._num_transitions = buffer.num_added
        if self._num_transitions < self._next_fit:
            return {}
        self._next_fit = self._num_transitions + self._retrain_interval
        metrics: dict[str, float] = {}
        if self._rollback is not None:
            metrics |= self._rollback.update(self._recent(buffer))
            if self._num_transitions == self._total_steps:
                return metrics  # a new policy would never act, and so never be measured
        metrics |= self.dynamics.fit(buffer.all(), generator=self._generator)
        if refusal := refusal_of(self.dynamics):
            _log.warning("InModelAgent: the policy is not trained further: %s", refusal)
            return metrics
        model_env = self._model_env(buffer)
        return metrics | self.learner.improve(
            buffer, None, model_env, num_updates=self._updates_per_refit
        )

    def _recent(self, buffer: ReplayBuffer) -> Transitions:
        """Return the transitions (B, ...) since the last call: those of the current policy."""
        count = min(len(buffer), self._num_transitions - self._num_measured)
        self._num_measured = self._num_transitions
        return Transitions(*(x[-count:] for x in buffer.all()))

    def _model_env(self, buffer: ReplayBuffer) -> ImaginedVecEnv:
        """Build the model as a vector environment that starts from real observations."""
        penalty = self._penalty
        charge = None if penalty is None else lambda t: penalty(t, self.dynamics, self.learner)
        return ImaginedVecEnv(
            self.dynamics,
            buffer,
            self._action,
            num_envs=self.learner.num_model_envs,
            max_episode_steps=self._max_episode_steps,
            invalid_state_value=self._invalid_state_value,
            action_hold=self._action_hold,
            penalty=charge,
            generator=self._generator,
        )

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Stop holding actions in the environments in done (E,) bool; None = in all of them."""
        self._holds[explore].reset(done)

    def state_dict(self) -> dict[str, Any]:
        """Return model, learner, rollback, held actions, generator and counters."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "learner": self.learner.state_dict(),
            "generator": self._generator.get_state(),
            "num_transitions": self._num_transitions,
            "next_fit": self._next_fit,
            "num_measured": self._num_measured,
            "rollback": None if self._rollback is None else self._rollback.state_dict(),
            "hold": self._holds[True].state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
        self._num_transitions = state["num_transitions"]
        self._next_fit = state["next_fit"]
        self._num_measured = state["num_measured"]
        if self._rollback is not None:
            self._rollback.load_state_dict(state["rollback"])
        self._holds[True].load_state_dict(state["hold"], self._action.dim)
