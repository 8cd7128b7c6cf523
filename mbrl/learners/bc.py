"""Behaviour cloning: do what the data do."""

from __future__ import annotations

from typing import final

from torch import Tensor

from mbrl.learners.batch_learner import BatchLearner, Rows


@final
class BC(BatchLearner):
    """Fit the actions of the data by least squares (Pomerleau 1991); see BatchLearner."""

    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Take one step."""
        weights = self.actor.weights()
        loss = (self.policy(rows.obs, weights) - rows.action).square().mean()
        self.actor.descend(loss, weights)
        return {"actor_loss": loss.detach()}

    def _value(self, obs: Tensor) -> Tensor:
        """Give zeros: what is cloned is not judged."""
        return obs.new_zeros(len(obs))

    def _learned(self) -> dict[str, Tensor]:
        """Name nothing beside the actor."""
        return {}
