"""Rollback: return to the best policy so far, as measured in the real environment (SINDy-RL).

The policy with the highest return in the model may exploit the model's errors; real returns decide.
"""

from __future__ import annotations

import copy
from typing import Any, final

from mbrl.roles import PolicyLearner
from mbrl.types import Transitions


@final
class Rollback:
    """Guard that restores the best policy so far when the current one falls behind.

    The gain of a policy is its return minus that of random actions (Zolman et al. 2024).

    Args:
        learner: its policies are compared.
        tolerance: fraction of the best gain that the current policy may fall behind.
        max_episode_steps: time limit of an episode; None without one.
    """

    def __init__(self, learner: PolicyLearner, tolerance: float, max_episode_steps: int | None):
        """Start without a measured policy."""
        self._learner = learner
        self._tolerance = tolerance
        self._max_episode_steps = max_episode_steps
        self._random_return: float | None = None
        self._best_return: float | None = None
        self._best_state: dict[str, Any] | None = None

    def update(self, recent: Transitions) -> dict[str, float]:
        """Compare the current policy with the best; restore the best if it falls behind.

        Args:
            recent: real transitions (B, ...) of the current policy; at the first call those of
                random actions, which set the scale.

        Returns:
            rollout/policy_return and train/rolled_back (0 or 1).
        """
        score = estimated_return(recent, self._max_episode_steps)
        metrics = {"rollout/policy_return": score, "train/rolled_back": 0.0}
        if self._random_return is None:
            self._random_return = score
        elif self._best_return is None or score >= self._best_return:
            self._best_return = score
            self._best_state = copy.deepcopy(self._learner.state_dict())
        else:
            gain = max(0.0, self._best_return - self._random_return)
            if score < self._best_return - self._tolerance * gain:
                assert self._best_state is not None
                self._learner.load_state_dict(copy.deepcopy(self._best_state))
                metrics["train/rolled_back"] = 1.0
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the returns of random actions and of the best policy, and that policy."""
        return {
            "random_return": self._random_return,
            "best_return": self._best_return,
            "best_state": self._best_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self._random_return = state["random_return"]
        self._best_return = state["best_return"]
        self._best_state = state["best_state"]


def estimated_return(recent: Transitions, max_episode_steps: int | None) -> float:
    """Return the estimated return of an episode.

    It is the mean reward times the expected length: steps per termination, at most the time limit.

    Args:
        recent: transitions (B, ...), cut from the episodes anywhere.
        max_episode_steps: the time limit; None without one.
    """
    num_steps = recent.reward.shape[0]
    length = num_steps / max(1.0, float(recent.terminated.sum()))
    if max_episode_steps is not None:
        never_ends = not recent.terminated.any()
        limit = float(max_episode_steps)
        length = limit if never_ends else min(length, limit)
    return recent.reward.double().mean().item() * length
