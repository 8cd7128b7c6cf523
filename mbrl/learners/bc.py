"""Behavior cloning: imitate the actions of the data."""

from __future__ import annotations

from typing import final

from torch import Tensor

from mbrl.learners.batch_learner import BatchLearner, Rows


@final
class BC(BatchLearner):
    """Behavior cloning by least squares (Pomerleau 1991); see BatchLearner for the parameters."""

    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Update the actor on a batch; return the loss."""
        weights = self.actor.weights()
        loss = (self.policy(rows.obs, weights) - rows.action).square().mean()
        self.actor.descend(loss, weights)
        return {"actor_loss": loss.detach()}

    def _value(self, obs: Tensor) -> Tensor:
        """Return zeros (B,): cloning estimates no returns."""
        return obs.new_zeros(len(obs))

    def _learned(self) -> dict[str, Tensor]:
        """Return nothing: there is only the actor."""
        return {}
