"""Batches of SAC's updates, drawn a chunk at a time into tensors that are reused.

New memory costs more than what is written into it: the system maps it page by page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer, mix
from mbrl.learners.sac_networks import Batch, gaussian_log_prob
from mbrl.learners.unit_actions import UnitActions

Sources = tuple[tuple[ReplayBuffer, ReplayBuffer | None], ...]  # real and imagined, of each seed

CHUNK = 16  # batches drawn at once; updates in a CUDA graph


@final
class Batches:
    """Draws of S seeds, each from its own buffers by its own generator.

    Args:
        units: conversion of actions in the buffers.
        generators: of each seed.
        obs_dim: length of an observation.
        batch_size: rows in a batch.
        real_ratio: fraction of real rows where there are imagined ones.
        discount: per step.
    """

    def __init__(
        self,
        units: UnitActions,
        generators: Sequence[torch.Generator],
        *,
        obs_dim: int,
        batch_size: int,
        real_ratio: float,
        discount: float,
    ):
        """Allocate a chunk."""
        self._units, self._generators = units, list(generators)
        self._size, self._real_ratio, self._discount = batch_size, real_ratio, discount
        device = self._generators[0].device
        width = 2 * obs_dim + units.act_dim + 3
        self._widths = [obs_dim, units.act_dim, obs_dim, 1, 1, 1]

        seeds, size = len(self._generators), batch_size
        num_copies = 1 if seeds == 1 else 2

        def empty(*shape: int) -> Tensor:
            """Return memory on the device."""
            return torch.empty(shape, device=device)

        # what a seed draws is contiguous: (S, CHUNK, ...)
        self._rows = empty(seeds, CHUNK, size, width)
        self._noise = empty(seeds, CHUNK, units.dim, 2 * size)
        # and so are the rows of a batch: (CHUNK, S, C, ...), see Batch
        self._taken = empty(CHUNK, seeds, num_copies, size, obs_dim + units.dim)
        self._pairs = empty(CHUNK, seeds, num_copies, 2 * size, obs_dim + units.dim)
        self._reward, self._ongoing = empty(2, CHUNK, seeds, size).unbind()
        self._noise_log_prob = empty(CHUNK, seeds, 2 * size)
        parts = (self._taken, self._pairs, self._reward, self._ongoing)
        parts = (*parts, self._noise.transpose(0, 1), self._noise_log_prob)
        self._batches = [Batch(*each) for each in zip(*(x.unbind() for x in parts), strict=True)]

    def draw(self, sources: Sources, num: int) -> list[Batch]:
        """Draw batches and their noise.

        Args:
            sources: of each seed.
            num: how many batches, at most CHUNK.

        Returns:
            The batches, until the next call.
        """
        for seed, ((real, imagined), generator) in enumerate(
            zip(sources, self._generators, strict=True)
        ):
            mix(
                real,
                imagined,
                self._size,
                real_ratio=self._real_ratio,
                num_batches=num,
                generator=generator,
                out=self._rows[seed, :num],
            )
            noise = self._noise[seed, :num]
            torch.randn(noise.shape, generator=generator, out=noise)
        rows = self._rows[:, :num].transpose(0, 1)[:, :, None]  # (num, S, 1, B, width)
        obs, action, next_obs, reward, terminated, _ = rows.split(self._widths, 4)
        size, num_obs = self._size, self._widths[0]
        self._taken[:num, ..., :num_obs] = obs
        self._taken[:num, ..., num_obs:] = self._units.from_env(action)
        self._pairs[:num, ..., :size, :num_obs] = obs
        self._pairs[:num, ..., size:, :num_obs] = next_obs
        self._reward[:num] = reward[:, :, 0, :, 0]
        self._ongoing[:num] = self._discount * (1 - terminated[:, :, 0, :, 0])
        self._noise_log_prob[:num] = gaussian_log_prob(self._noise[:, :num]).transpose(0, 1)
        return self._batches[:num]
