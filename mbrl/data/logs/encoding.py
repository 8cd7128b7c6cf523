"""Angles as cosine and sine, for models that know no wrapping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class AngleEncoding:
    """Observations with cosine and sine in the place of each angle.

    Args:
        names: of the D observations.
        angles: indices of those in radians that wrap.
    """

    names: tuple[str, ...]
    angles: tuple[int, ...] = ()

    @cached_property
    def _places(self) -> list[int]:
        """Return the first index of each observation in the encoded one."""
        return [i + sum(a < i for a in self.angles) for i in range(len(self.names))]

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """Return the names of the encoded observation (E,)."""
        pairs = [
            (f"cos({name})", f"sin({name})") if i in self.angles else (name,)
            for i, name in enumerate(self.names)
        ]
        return tuple(name for pair in pairs for name in pair)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Return the indices of (cosine, sine) in the encoded observation; see Task.angle_pairs."""
        return tuple((self._places[i], self._places[i] + 1) for i in self.angles)

    def encode(self, obs: Tensor) -> Tensor:
        """Return the encoded observations (..., E) of (..., D)."""
        columns = [
            part
            for i, x in enumerate(obs.unbind(-1))
            for part in ((x.cos(), x.sin()) if i in self.angles else (x,))
        ]
        return torch.stack(columns, -1)

    def decode(self, encoded: Tensor) -> Tensor:
        """Return the observations (..., D) of encoded ones (..., E), angles within [-pi, pi]."""
        columns = [
            torch.atan2(encoded[..., k + 1], encoded[..., k])
            if i in self.angles
            else encoded[..., k]
            for i, k in enumerate(self._places)
        ]
        return torch.stack(columns, -1)

    def project(self, encoded: Tensor) -> Tensor:
        """Return encoded observations (..., E) with every pair back on the circle."""
        columns = list(encoded.unbind(-1))
        for c, s in self.pairs:
            length = torch.hypot(columns[c], columns[s])
            safe = torch.where(length > 0, length, 1.0)
            columns[c], columns[s] = columns[c] / safe, columns[s] / safe
        return torch.stack(columns, -1)

    def difference(self, left: Tensor, right: Tensor) -> Tensor:
        """Return left - right (..., D), of angles the shorter way around."""
        gap = left - right
        is_angle = torch.zeros(len(self.names), dtype=torch.bool, device=gap.device)
        is_angle[list(self.angles)] = True
        return torch.where(is_angle, torch.remainder(gap + math.pi, 2 * math.pi) - math.pi, gap)
