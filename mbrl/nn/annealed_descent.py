"""Gradient descent of a batched ensemble by Adam, whose learning rate falls to zero at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, final

import torch
from torch import Tensor

from mbrl.errors import NumericalFault
from mbrl.nn.cuda_graphs import Graphed
from mbrl.nn.flat import Adam


class Gradient(Protocol):
    """Gradient of the losses of S fits, written where Adam reads it.

    Attributes:
        parameters: tensors of any shape.
        gradients: of the sum of the losses, of the same shapes.
    """

    parameters: list[Tensor]
    gradients: list[Tensor]

    def __call__(self, rows: Tensor) -> Tensor:
        """Write the gradients for the rows (S, M, n) of a batch, and return the losses (S,)."""
        ...

    def of_fit(self, tensors: Sequence[Tensor], fit: int) -> list[Tensor]:
        """Return views of one fit's part of the parameters or the gradients."""
        ...


@final
class AnnealedDescent:
    """Steps of Adam (Kingma and Ba 2015) of one fit, each member on its own rows.

    Args:
        gradient: of the loss.
        rows: of each member (M, N).
        batch_size: rows of a batch.
        learning_rate: of the steps before the annealing.
        generator: source of the order.

    Attributes:
        batch_size: rows of a batch.
        updates: steps so far.
    """

    def __init__(
        self,
        gradient: Gradient,
        rows: Tensor,
        *,
        batch_size: int,
        learning_rate: float,
        generator: torch.Generator,
    ):
        """Start with moments of zero."""
        self.gradient = gradient
        self._rows, self.batch_size, self._generator = rows, batch_size, generator
        self._rate = learning_rate
        # a CUDA graph reads the rate anew at each step only from a tensor
        rate = torch.tensor(learning_rate, device=rows.device) if rows.is_cuda else learning_rate
        self._adam = Adam(*gradient.parameters, learning_rate=rate)
        self._loss = torch.zeros((), device=rows.device)
        self.updates = 0
        self._take_step = Graphed(self._step, rows.device)

    def _step(self, rows: Tensor) -> None:
        """Run one step on the rows (M, n) of a batch."""
        self._descend(self.gradient(rows[None])[0])

    def _descend(self, loss: Tensor) -> None:
        """Run one step of Adam along the gradient, of a loss ()."""
        self._adam.step(*self.gradient.gradients)
        self._loss.copy_(loss)

    def run_epoch(self, limit: int) -> None:
        """Run an epoch, or until there are limit updates; then check() the loss."""
        _run_epoch([self], self._take_step, limit)

    def anneal(self, num_updates: int) -> None:
        """Run num_updates steps while the learning rate falls to zero.

        Weights then stand where the noise of the batches averages out: errors are smaller, and
        members differ by what they do not know instead of by where the last steps left them.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        _anneal([self], self._take_step, num_updates)

    def _batches(self) -> Sequence[Tensor]:
        """Return the batches (M, n) of an epoch, in a new order."""
        shape, device = self._rows.shape, self._rows.device
        order = torch.rand(shape, generator=self._generator, device=device).argsort(1)
        return self._rows.gather(1, order).split(self.batch_size, dim=1)

    def _set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        if isinstance(self._adam.learning_rate, Tensor):
            self._adam.learning_rate.fill_(rate)
        else:
            self._adam.learning_rate = rate

    def check(self, flag: Tensor) -> bool:
        """Check that the last loss is finite, and return a flag that is read together with it.

        Args:
            flag: () bool, of the holdout; one read waits for less than two.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        loss, value = torch.stack([self._loss, flag.to(self._loss)]).tolist()
        if not math.isfinite(loss):
            raise NumericalFault(f"dynamics loss is {loss} after {self.updates} updates")
        return bool(value)


@final
class StackedDescent:
    """Descents of several fits, whose steps are one batch; each draws as it does alone.

    Args:
        descents: of S fits with as many rows each.
        gradient: of all fits; its parameters are copied from those of the descents.
    """

    def __init__(self, descents: Sequence[AnnealedDescent], gradient: Gradient):
        """Store the descents, which go on where they are."""
        self._descents = descents
        own, own_gradients, part, part_gradients = [], [], [], []
        for fit, alone in enumerate(descent.gradient for descent in descents):
            own += alone.of_fit(alone.parameters, 0)
            own_gradients += alone.of_fit(alone.gradients, 0)
            part += gradient.of_fit(gradient.parameters, fit)
            part_gradients += gradient.of_fit(gradient.gradients, fit)

        def take_step(*rows: Tensor) -> None:
            torch._foreach_copy_(part, own)
            losses = gradient(torch.stack(rows))
            torch._foreach_copy_(own_gradients, part_gradients)
            for descent, loss in zip(descents, losses.unbind(), strict=True):
                descent._descend(loss)

        self._take_step = Graphed(take_step, descents[0]._rows.device)

    def run_epoch(self, limit: int) -> None:
        """Run an epoch of each; see AnnealedDescent.run_epoch."""
        _run_epoch(self._descents, self._take_step, limit)

    def anneal(self, num_updates: int) -> None:
        """Run num_updates steps of each; see AnnealedDescent.anneal."""
        _anneal(self._descents, self._take_step, num_updates)


def _run_epoch(
    descents: Sequence[AnnealedDescent], take_step: Callable[..., None], limit: int
) -> None:
    """Run an epoch of each descent, or until there are limit updates."""
    for rows in zip(*(descent._batches() for descent in descents), strict=True):
        take_step(*rows)
        for descent in descents:
            descent.updates += 1
        if descents[0].updates >= limit:
            break


def _anneal(
    descents: Sequence[AnnealedDescent], take_step: Callable[..., None], num_updates: int
) -> None:
    """Run num_updates steps of each descent while the learning rate falls to zero."""
    done = 0
    while done < num_updates:
        for rows in zip(*(descent._batches() for descent in descents), strict=True):
            for descent in descents:
                descent._set_rate(descent._rate * (1 - done / num_updates))
            take_step(*rows)
            done += 1
            if done == num_updates:
                break
    for descent in descents:
        descent.updates += done
        descent.check(torch.zeros_like(descent._loss, dtype=torch.bool))
