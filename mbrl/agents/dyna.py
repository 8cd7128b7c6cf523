"""The Dyna agent: learn a model of real transitions, imagine short rollouts, learn from both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.agents.rollback import Rollback
from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.branched_rollouts import BranchedRollouts
from mbrl.imagination.hold import ActionHold
from mbrl.imagination.model_env import ImaginedVecEnv
from mbrl.nn.generators import restore
from mbrl.roles import (
    ActionSelector,
    Agent,
    Dynamics,
    EnvState,
    ModelEnvLearner,
    Penalty,
    PlanningSelector,
    PolicyLearner,
)
from mbrl.types import ActionSpec, Transitions


class Dyna(Agent):
    """Learn a policy in imagination: dynamics, learner, two action selectors, penalty are sockets.

    MBPO (Janner et al. 2019) is this agent with an ensemble, SAC, and the policy as both selectors;
    COPlanner (Wang et al. 2024) is MBPO with UP-MPC as both, wary in imagination, curious outside.

    Args:
        action: the environment's actions.
        dynamics: the model, refitted as data come in.
        learner: the policy and how it learns.
        generator: source of the agent's randomness.
        rollout_actions: acts in imagination; None is the learner's policy.
        exploration_actions: acts in the real environment; None is the learner's policy.
        penalty: taken off imagined rewards; None for nothing.
        learning_starts: transitions of uniform random actions before learning begins.
        retrain_interval: transitions between refits of the model.
        num_rollouts: imagined rollouts after each refit, from real observations.
        rollout_length: (from step, to step, first, last): rises linearly, as in MBPO.
        retain_refits: imagined data are kept for this many refits.
        updates_per_step: learner updates per real transition.
        updates_per_refit: iterations after each refit of a learner that collects its own rollouts
            in the model; it gets no others, and no rollouts are imagined for it.
        max_episode_steps: of the environment, and so of such a learner's imagined episodes.
        action_hold: environment steps for which each action is held, in such a learner's model too.
        rollback: share of the best policy's gain over random actions that a later one may lose in
            the real environment before the best is restored, at a refit; None never does.
        total_steps: of the run: with rollback, the last policies are judged, not refitted.
        value_outside: what such a learner is told of leaving where the model is valid; None lets
            it bootstrap.
        drop_invalid: leave out imagined steps that the model does not stand by; by default they are
            learned from, truncated: the value is bootstrapped from what they predict.

    Raises:
        BadInput: if the dynamics are a simulator: stored observations do not hold its state.
    """

    def __init__(
        self,
        *,
        action: ActionSpec,
        dynamics: Dynamics,
        learner: PolicyLearner,
        generator: torch.Generator,
        rollout_actions: ActionSelector | None = None,
        exploration_actions: ActionSelector | None = None,
        penalty: Penalty | None = None,
        learning_starts: int = 500,
        retrain_interval: int = 250,
        num_rollouts: int = 10_000,
        rollout_length: tuple[int, int, int, int] = (0, 1, 1, 1),
        retain_refits: int = 1,
        updates_per_step: int = 10,
        updates_per_refit: int = 10,
        max_episode_steps: int | None = None,
        value_outside: float | None = None,
        action_hold: int = 1,
        rollback: float | None = None,
        total_steps: int | None = None,
        drop_invalid: bool = False,
    ):
        """Take the parts."""
        if not dynamics.learned:
            raise BadInput(
                "dynamics=simulator: rollouts are imagined from stored observations, which do not "
                "hold the simulator's state; choose agent=pets or a learned model"
            )
        if action_hold > 1 and not isinstance(learner, ModelEnvLearner):
            raise BadInput(
                f"agent.action_hold={action_hold}: branched rollouts hold no actions; choose a "
                "learner that acts in the model itself, learner=sac_in_model or sb3_ppo"
            )
        self._action = action
        self.dynamics = dynamics
        self.learner = learner
        self._generator = generator
        self._rollout_actions = rollout_actions or learner
        self.imagination = BranchedRollouts(
            dynamics,
            self._rollout_actions,
            learner,
            penalty=penalty,
            num_rollouts=num_rollouts,
            retain=retain_refits,
            drop_invalid=drop_invalid,
            generator=generator,
        )
        self._exploration_actions = exploration_actions or learner
        self._penalty = penalty
        self._learning_starts = learning_starts
        self._retrain_interval = retrain_interval
        self._rollout_length = rollout_length
        self._updates_per_step = updates_per_step
        self._updates_per_refit = updates_per_refit
        self._max_episode_steps = max_episode_steps
        self._value_outside = value_outside
        self._action_hold = action_hold
        self._holds = {explore: ActionHold(action_hold) for explore in (True, False)}
        self._rollback = None
        if rollback is not None:
            self._rollback = Rollback(learner, rollback, max_episode_steps)
        self._total_steps = total_steps
        self._seen = 0  # transitions learned from
        self._next_fit = learning_starts
        self._judged = 0  # transitions whose policies were judged

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose actions (E, act_dim), random ones before learning starts."""
        if not explore:
            action = self.learner.select(obs, generator=self._generator, deterministic=True)
        elif self._seen < self._learning_starts:
            action = self._action.sample(obs.shape[0], generator=self._generator)
        else:
            action = self._exploration_actions.select(obs, generator=self._generator)
        return self._holds[explore](action)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Refit and imagine when due; then improve the policy on both buffers."""
        new = buffer.num_added - self._seen
        self._seen = buffer.num_added
        if self._seen < self._learning_starts:
            return {}
        metrics: dict[str, float] = {}
        learner = self.learner
        refitted = self._seen >= self._next_fit
        if refitted:
            metrics = self._judge(buffer)
            self._next_fit = self._seen + self._retrain_interval
            if self._rollback is not None and self._seen == self._total_steps:
                return metrics  # nothing would be acted, and judged, any more
            metrics |= self.dynamics.fit(buffer.all(), generator=self._generator)
        if isinstance(learner, ModelEnvLearner):
            return metrics | (self._improve_in_model(buffer, learner) if refitted else {})
        if refitted:
            metrics |= self.imagination.branch(buffer, self._length())
        for name, selector in self._selectors().items():
            found = selector.metrics()
            metrics |= {f"planner/{name}/{key}": value for key, value in found.items()}
        updates = self._updates_per_step * new
        return metrics | learner.improve(buffer, self.imagination.buffer, num_updates=updates)

    def _judge(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Judge the policy by what it has acted since the last refit."""
        if self._rollback is None:
            return {}
        recent = buffer.all()
        acted = min(len(buffer), self._seen - self._judged)
        self._judged = self._seen
        return self._rollback.judge(Transitions(*(x[-acted:] for x in recent)))

    def _improve_in_model(self, buffer: ReplayBuffer, learner: ModelEnvLearner) -> dict[str, float]:
        """Let an on-policy learner collect its own rollouts in the model."""
        penalty = self._penalty
        charge = None if penalty is None else lambda t: penalty(t, self.dynamics, learner)
        world = ImaginedVecEnv(
            self.dynamics,
            buffer,
            self._action,
            num_envs=learner.num_model_envs,
            max_episode_steps=self._max_episode_steps,
            value_outside=self._value_outside,
            hold=self._action_hold,
            charge=charge,
            generator=self._generator,
        )
        return learner.improve(buffer, None, world, num_updates=self._updates_per_refit)

    def _length(self) -> int:
        """Give the rollout length at this step."""
        begin, end, first, last = self._rollout_length
        share = min(1.0, max(0.0, (self._seen - begin) / max(1, end - begin)))
        return int(first + share * (last - first))

    def _selectors(self) -> dict[str, PlanningSelector]:
        """Name the selectors that plan."""
        both = {"rollout": self._rollout_actions, "exploration": self._exploration_actions}
        return {
            name: selector
            for name, selector in both.items()
            if selector is not self.learner and isinstance(selector, PlanningSelector)
        }

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Decide anew where an action was held; a policy has no other memory."""
        self._holds[explore].reset(done)

    def state_dict(self) -> dict[str, Any]:
        """Give model, learner, selectors, imagined data, generator and counts."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "learner": self.learner.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._seen,
            "next_fit": self._next_fit,
            "selectors": {k: s.state_dict() for k, s in self._selectors().items()},
            "judged": self._judged,
            "rollback": None if self._rollback is None else self._rollback.state_dict(),
            "held": self._holds[True].state_dict(),
            "imagined": self.imagination.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take everything back."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
        self._seen = state["seen"]
        self._next_fit = state["next_fit"]
        for name, selector in self._selectors().items():
            selector.load_state_dict(state["selectors"][name])
        self._judged = state["judged"]
        if self._rollback is not None:
            self._rollback.load_state_dict(state["rollback"])
        self._holds[True].load_state_dict(state["held"])
        self.imagination.load_state_dict(state["imagined"])
