"""Gradient descent of a batched ensemble by Adam, whose learning rate falls to zero at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from mbrl.errors import NumericalFault
from mbrl.nn.cuda_graphs import Graphed


@final
class AnnealedDescent:
    """Steps of Adam (Kingma and Ba 2015) of one fit, each member on its own rows.

    Args:
        loss: rows (M, n) of a batch -> the loss ().
        groups: parameters with their weight decay, as torch.optim.Adam takes them.
        rows: of each member (M, N).
        batch_size: rows of a batch.
        learning_rate: of the steps before the annealing.
        generator: source of the order.

    Attributes:
        updates: steps so far.
    """

    def __init__(
        self,
        loss: Callable[[Tensor], Tensor],
        groups: Sequence[dict[str, Any]],
        rows: Tensor,
        *,
        batch_size: int,
        learning_rate: float,
        generator: torch.Generator,
    ):
        """Start with moments of zero."""
        self._rows, self._batch_size, self._generator = rows, batch_size, generator
        self._rate = learning_rate
        on_gpu = rows.is_cuda
        # a CUDA graph reads the rate anew at each step only from a tensor
        rate = torch.tensor(learning_rate, device=rows.device) if on_gpu else learning_rate
        self._optimizer = optimizer = torch.optim.Adam(
            [{**group} for group in groups], lr=rate, fused=True, capturable=on_gpu
        )
        self._loss = last_loss = torch.zeros((), device=rows.device)
        self.updates = 0

        def take_step(rows: Tensor) -> None:
            value = loss(rows)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            last_loss.copy_(value.detach())

        self._take_step = Graphed(take_step, rows.device)

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
        return self._rows.gather(1, order).split(self._batch_size, dim=1)

    def _set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

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
        descents: of fits with as many rows each.
        loss: rows (M, n) of a batch of each fit -> the losses (S,) of the S fits.
    """

    def __init__(
        self,
        descents: Sequence[AnnealedDescent],
        loss: Callable[[Sequence[Tensor]], Tensor],
    ):
        """Store the descents, which go on where they are."""
        self._descents = descents

        def take_step(*rows: Tensor) -> None:
            values = loss(rows)
            for descent in descents:
                descent._optimizer.zero_grad()
            values.sum().backward()
            for descent, value in zip(descents, values.detach().unbind(), strict=True):
                descent._optimizer.step()
                descent._loss.copy_(value)

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
