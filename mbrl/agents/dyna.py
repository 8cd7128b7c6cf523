"""Dyna: fit a model to real transitions, roll it out from real states, learn from both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.branched_rollouts import BranchedRollouts
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import (
    ActionSelector,
    Agent,
    Dynamics,
    FitsTogether,
    ModelEnvLearner,
    Penalty,
    PlanningSelector,
    PolicyLearner,
    stack_parts,
)
from mbrl.types import ActionSpec, Transitions, read_waits
from mbrl.values import Count, CountOrZero, checked


@final
class Dyna(Agent):
    """Agent that learns a policy from branched model rollouts.

    MBPO (Janner et al. 2019) is this agent with an ensemble, SAC, and the policy as both selectors.
    COPlanner (Wang et al. 2024) is MBPO with UP-MPC as both selectors: it avoids uncertainty in the
    model and seeks it in the environment.

    Args:
        action: the environment's actions.
        dynamics: the model, refitted as data come in.
        learner: the policy and how it learns.
        generator: source of the agent's randomness.
        rollout_actions: selects actions in model rollouts; None for the learner's policy.
        exploration_actions: selects actions in the real environment; None for the learner's policy.
        penalty: subtracted from the rewards of model rollouts; None for nothing.
        learning_starts: transitions of uniform random actions before learning begins.
        retrain_interval: transitions between refits of the model.
        num_rollouts: model rollouts after each refit, from states of the real buffer.
        rollout_length: (start, end, first, last): the length grows linearly from `first` steps at
            transition `start` to `last` steps at transition `end`.
        retain_refits: refits for which model rollouts are kept.
        updates_per_step: learner updates per real transition.
        drop_invalid: leave out steps outside the model's validity region. By default they are
            learned from as truncated steps: the value is bootstrapped from the predicted state.

    Raises:
        BadInput: if the dynamics are a simulator, or the learner collects its own rollouts.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        dynamics: Dynamics,
        learner: PolicyLearner,
        generator: torch.Generator | int,
        rollout_actions: ActionSelector | None = None,
        exploration_actions: ActionSelector | None = None,
        penalty: Penalty | None = None,
        learning_starts: Count = 500,
        retrain_interval: Count = 250,
        num_rollouts: Count = 10_000,
        rollout_length: tuple[CountOrZero, CountOrZero, Count, Count] = (0, 1, 1, 1),
        retain_refits: Count = 1,
        updates_per_step: Count = 10,
        drop_invalid: bool = False,
    ):
        """Store the parts."""
        generator = as_generator(generator, action.low.device)
        if not dynamics.learned:
            raise BadInput(
                "dynamics: rollouts start from stored observations, which do not hold a "
                "simulator's state; choose a learned model, or a planning agent such as pets"
            )
        if isinstance(learner, ModelEnvLearner):
            raise BadInput(
                f"learner: {type(learner).__name__} collects its own rollouts in the model, which "
                "Dyna does not offer; choose agent=sindy_rl (InModelAgent)"
            )
        self._action = action
        self.dynamics = dynamics
        self.learner = learner
        self._generator = generator
        self._rollout_actions = rollout_actions or learner
        self._exploration_actions = exploration_actions or learner
        self.branched_rollouts = BranchedRollouts(
            dynamics,
            self._rollout_actions,
            learner,
            penalty=penalty,
            num_rollouts=num_rollouts,
            retain=retain_refits,
            drop_invalid=drop_invalid,
            generator=generator,
        )
        self._learning_starts = learning_starts
        self._retrain_interval = retrain_interval
        self._rollout_length = rollout_length
        self._updates_per_step = updates_per_step
        self._num_transitions = 0  # real ones so far
        self._next_fit = learning_starts

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim); uniform random ones before learning begins."""
        if not explore:
            return self.learner.select(obs, generator=self._generator, deterministic=True)
        if self._num_transitions < self._learning_starts:
            return self._action.sample(obs.shape[0], generator=self._generator)
        return self._exploration_actions.select(obs, generator=self._generator)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Refit the model and roll it out when due, then improve the policy."""
        num_updates = self._count(buffer)
        if num_updates == 0:
            return {}
        metrics: dict[str, float] = {}
        if self._is_fit_due():
            metrics |= self.dynamics.fit(buffer.all(), generator=self._generator)
            metrics |= self.branched_rollouts.generate(buffer, self._current_length())
        metrics |= self._planning_metrics()
        imagined = self.branched_rollouts.buffer
        return metrics | self.learner.improve(buffer, imagined, num_updates=num_updates)

    def _count(self, buffer: ReplayBuffer) -> int:
        """Count the new transitions; return the updates due, 0 before learning begins."""
        new = buffer.num_added - self._num_transitions
        self._num_transitions = buffer.num_added
        learns = self._num_transitions >= self._learning_starts
        return self._updates_per_step * new if learns else 0

    def _is_fit_due(self) -> bool:
        """Return whether the model is to be refitted now; if so, the next time is set."""
        if self._num_transitions < self._next_fit:
            return False
        self._next_fit = self._num_transitions + self._retrain_interval
        return True

    def _planning_metrics(self) -> dict[str, float]:
        """Return the measurements of the selectors that plan."""
        return {
            f"planner/{name}/{key}": value
            for name, selector in self._planning_selectors().items()
            for key, value in selector.metrics().items()
        }

    @staticmethod
    def stack(parts: Sequence[Dyna]) -> DynaStack:
        """Return agents that differ in their seeds as one; see Stacks."""
        return DynaStack(parts)

    def _current_length(self) -> int:
        """Return the rollout length after the transitions so far, by the linear schedule."""
        start, end, first, last = self._rollout_length
        fraction = min(1.0, max(0.0, (self._num_transitions - start) / max(1, end - start)))
        return int(first + fraction * (last - first))

    def _planning_selectors(self) -> dict[str, PlanningSelector]:
        """Return the selectors that plan, by name."""
        both = {"rollout": self._rollout_actions, "exploration": self._exploration_actions}
        return {
            name: selector
            for name, selector in both.items()
            if selector is not self.learner and isinstance(selector, PlanningSelector)
        }

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: a policy has no episode memory."""

    def state_dict(self) -> dict[str, Any]:
        """Return model, learner, selectors, model rollouts, generator and counters."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "learner": self.learner.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._num_transitions,
            "next_fit": self._next_fit,
            "selectors": {k: s.state_dict() for k, s in self._planning_selectors().items()},
            "imagined": self.branched_rollouts.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
        self._num_transitions = state["seen"]
        self._next_fit = state["next_fit"]
        for name, selector in self._planning_selectors().items():
            selector.load_state_dict(state["selectors"][name])
        self.branched_rollouts.load_state_dict(state["imagined"])


@final
class DynaStack:
    """Dyna agents of several seeds whose policies learn as one batch.

    Args:
        agents: of one seed each.

    Raises:
        BadInput: if their learners cannot.
    """

    def __init__(self, agents: Sequence[Dyna]):
        """Stack the learners."""
        self._agents = agents
        self._learner = stack_parts("learner", [agent.learner for agent in agents])

    def act(self, obs: Sequence[Tensor]) -> list[Tensor]:
        """Return actions (E, act_dim) of each agent; see AgentStack."""
        agents, first = self._agents, self._agents[0]
        by_policy = first._exploration_actions is first.learner
        if first._num_transitions < first._learning_starts or not by_policy:
            return [a.act(rows, explore=True) for a, rows in zip(agents, obs, strict=True)]
        return self._learner.select(obs, generators=[agent._generator for agent in agents])

    def update(self, buffers: Sequence[ReplayBuffer]) -> list[dict[str, float]]:
        """Refit the models and roll them out when due, then improve the policies together."""
        agents = self._agents
        num_updates = [a._count(buffer) for a, buffer in zip(agents, buffers, strict=True)][0]
        if num_updates == 0:
            return [{} for _ in agents]
        metrics: list[dict[str, float]] = [{} for _ in agents]
        if [agent._is_fit_due() for agent in agents][0]:
            metrics = self._fit([buffer.all() for buffer in buffers])
            for own, agent, buffer in zip(metrics, agents, buffers, strict=True):
                own |= agent.branched_rollouts.generate(buffer, agent._current_length())
        for own, agent in zip(metrics, agents, strict=True):
            own |= agent._planning_metrics()
        imagined = [agent.branched_rollouts.buffer for agent in agents]
        losses = self._learner.improve(buffers, imagined, num_updates=num_updates)
        return [a | b for a, b in zip(metrics, losses, strict=True)]

    def _fit(self, data: Sequence[Transitions]) -> list[dict[str, float]]:
        """Refit each agent's model to its data, on a GPU together where the models can be."""
        models = [agent.dynamics for agent in self._agents]
        draws = [agent._generator for agent in self._agents]
        # on the CPU wide networks leave the cache: one by one is as fast or faster
        if isinstance(models[0], FitsTogether) and read_waits(data[0].obs):
            return models[0].fit_together(models, data, draws)
        return [x.fit(y, generator=g) for x, y, g in zip(models, data, draws, strict=True)]
