"""Go back to the best policy seen in the real environment (SINDy-RL, Zolman et al. 2024).

A policy that is best in the model may exploit it: only the environment tells.
"""

from __future__ import annotations

import copy
from typing import Any

from mbrl.roles import PolicyLearner
from mbrl.types import Transitions


class Rollback:
    """Judge policies by what they earned, and restore the best when one falls behind.

    Args:
        learner: whose policies are judged.
        tolerance: a policy may lose this share of the best one's gain over random actions.
        max_episode_steps: of the environment.
    """

    def __init__(self, learner: PolicyLearner, tolerance: float, max_episode_steps: int | None):
        """Begin with the random actions, which set the scale."""
        self._learner = learner
        self._tolerance = tolerance
        self._limit = max_episode_steps
        self._floor: float | None = None  # what random actions earned
        self._best: float | None = None
        self._state: dict[str, Any] | None = None  # of the best

    def judge(self, acted: Transitions) -> dict[str, float]:
        """Judge the learner as it is by transitions (B, ...) it acted; restore the best if worse.

        The first call is given those of random actions.
        """
        score = estimated_return(acted, self._limit)
        metrics = {"rollout/policy_return": score, "train/rolled_back": 0.0}
        if self._floor is None:
            self._floor = score
        elif self._best is None or score >= self._best:
            self._best, self._state = score, copy.deepcopy(self._learner.state_dict())
        elif score < self._best - self._tolerance * max(0.0, self._best - self._floor):
            assert self._state is not None
            self._learner.load_state_dict(copy.deepcopy(self._state))
            metrics["train/rolled_back"] = 1.0
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Give the scale and the best policy."""
        return {"floor": self._floor, "best": self._best, "state": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self._floor, self._best, self._state = state["floor"], state["best"], state["state"]


def estimated_return(acted: Transitions, max_episode_steps: int | None) -> float:
    """Estimate the return of an episode from transitions (B, ...) that may be cut anywhere.

    The mean reward times the expected length: steps per termination, at most the limit.
    """
    steps = acted.reward.shape[0]
    length = steps / max(1.0, float(acted.terminated.sum()))
    if not acted.terminated.any() and max_episode_steps is not None:
        length = float(max_episode_steps)
    length = length if max_episode_steps is None else min(length, float(max_episode_steps))
    return acted.reward.double().mean().item() * length
