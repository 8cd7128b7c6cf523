"""Learned termination: classifiers of the observation that was reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mbrl import moved
from mbrl.errors import NumericalFault
from mbrl.nn.early_stopping import batch_size_for
from mbrl.nn.flat import Adam, copy, layers, num_parameters
from mbrl.nn.manual_mlp import ManualMLP
from mbrl.nn.mlp import MLP, split_blocks
from mbrl.nn.normalizer import Normalizer
from mbrl.types import Transitions
from mbrl.values import Count, NumMembers, Positive, Width, checked


@final
class TerminationClassifier(nn.Module):
    """Ensemble of classifiers of whether an observation ends the episode.

    They are networks of their own, because a further output of a dynamics network would be drowned:
    terminations are rare, and the likelihood of nearly exact dynamics has gradients that are many
    orders of magnitude larger. Both classes have the same weight in the loss. Before a termination
    was observed, none is predicted.

    Each member of the dynamics has a classifier, fitted to its own bootstrap of each class. Where
    few terminations were observed the classifiers disagree, so that a plan's particles also avoid
    what only might end the episode.

    Args:
        obs_dim: length of an observation.
        generator: source of the initial weights.
        num_members: number of networks.
        hidden: width of their two hidden layers.
        learning_rate: of Adam, falling to zero over a fit.
        num_updates: gradient steps of a fit.

    Raises:
        BadInput: for a value out of range.
    """

    inputs: Normalizer
    bias: Tensor  # () added to the logit; -inf before a termination was observed

    @checked
    def __init__(
        self,
        obs_dim: int,
        *,
        generator: torch.Generator,
        num_members: NumMembers = 7,
        hidden: Width = 64,
        learning_rate: Positive = 3e-3,
        num_updates: Count = 1000,
    ):
        """Build the networks and sample their weights."""
        super().__init__()
        self._widths = [obs_dim, hidden, hidden, 1]
        self.networks = MLP(self._widths, num_members, generator=generator)
        moved.state_keys(self, {"weights.": "networks.weights.", "biases.": "networks.biases."})
        self.inputs = Normalizer(obs_dim)
        self.register_buffer("bias", torch.tensor(-torch.inf))
        self._learning_rate = learning_rate
        self._num_updates = num_updates
        self._always: bool | None = False  # what every row is, where only one class was seen
        self.register_load_state_dict_post_hook(lambda model, _: model._read_bias())

    def _read_bias(self) -> None:
        """Read whether all rows are of one class, so that no network needs to be evaluated."""
        bias = self.bias.item()
        self._always = bias > 0 if math.isinf(bias) else None

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data, starting from the last weights.

        Args:
            data: transitions (B, ...).
            generator: source of the bootstraps and of the batches.

        Returns:
            model/missed_ends, the share of terminations that the mean logit misses, and
            model/false_ends, the share of other rows that it takes for terminations.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        self.inputs.fit(data.next_obs)
        x, ended = self.inputs(data.next_obs), data.terminated
        classes = [torch.nonzero(ended)[:, 0], torch.nonzero(~ended)[:, 0]]
        if min(len(rows) for rows in classes) == 0:
            self._always = len(classes[0]) > 0
            self.bias.fill_(torch.inf if self._always else -torch.inf)
            return {}
        self._always = None
        self.bias.zero_()
        bootstraps = [rows[self._draw(len(rows), len(rows), generator)] for rows in classes]
        self._descend(x, bootstraps, batch_size_for(len(ended), 128) // 2, generator)
        with torch.no_grad():
            predicted = self(data.next_obs)
        missed, false = (~predicted[classes[0]]).double(), predicted[classes[1]].double()
        return {"model/missed_ends": missed.mean().item(), "model/false_ends": false.mean().item()}

    def _draw(self, num: int, below: int, generator: torch.Generator) -> Tensor:
        """Sample numbers (M, num) below some number."""
        shape = (self.networks.num_members, num)
        return torch.randint(below, shape, generator=generator, device=self.bias.device)

    @torch.no_grad()
    def _descend(
        self, x: Tensor, bootstraps: Sequence[Tensor], half: int, generator: torch.Generator
    ) -> None:
        """Minimize the cross entropy by Adam, the learning rate falling linearly to zero.

        Args:
            x: normalized observations (B, obs_dim).
            bootstraps: rows of each class (M, n).
            half: rows of each class in a batch.
            generator: source of the batches.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        members, widths = self.networks.num_members, self._widths
        flat, gradient = x.new_empty(2, members * num_parameters(widths))
        net = layers(flat, members, widths)
        parts = [part for layer in net for part in layer]
        copy(self.networks.transposed(), parts)
        networks = ManualMLP(net, layers(gradient, members, widths), num_rows=2 * half)
        adam = Adam(flat, learning_rate=self._learning_rate)
        target = torch.cat([torch.ones(half), torch.zeros(half)]).to(x).expand(members, 1, -1)
        logits = target
        for update in range(self._num_updates):
            adam.learning_rate = self._learning_rate * (1 - update / self._num_updates)
            rows = [own.gather(1, self._draw(half, own.shape[1], generator)) for own in bootstraps]
            logits = networks.forward(x[torch.cat(rows, 1)])  # (M, 1, 2 * half)
            networks.backward(torch.sigmoid(logits).sub_(target))  # derivative of the cross entropy
            adam.step(gradient)
        copy(parts, self.networks.transposed())
        loss = binary_cross_entropy_with_logits(logits, target).item()
        if not math.isfinite(loss):
            raise NumericalFault(f"termination loss is {loss} after {self._num_updates} updates")

    def forward(self, next_obs: Tensor, members: Sequence[int] = ()) -> Tensor:
        """Predict which of next_obs (B, obs_dim) end the episode: (B,) bool.

        Args:
            next_obs: (B, obs_dim).
            members: classifiers of the equal blocks of rows; none: the mean logit of all.
        """
        if self._always is not None:
            return torch.full(next_obs.shape[:1], self._always, device=next_obs.device)
        x = self.inputs(next_obs)
        if members:
            blocks = split_blocks(x, len(members))
            logits = self.networks(blocks, members)[..., 0].flatten()[: len(x)]
        else:
            logits = self.networks(x)[..., 0].mean(0)
        return logits + self.bias > 0
