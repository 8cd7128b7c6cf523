"""Contain libraries that draw from the global generators of Python, numpy and torch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class GlobalRng:
    """Global generators of a library's own: in place within `with`, the former ones after it.

    So what the library draws repeats for a seed, goes on from a checkpoint, and disturbs nobody.

    Args:
        seed: as given to random.seed, np.random.seed and torch.manual_seed.
        device: where the library's tensors live.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        """Seed the generators."""
        self._device = torch.device(device)
        outside = self._current()
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self._own = self._current()
        self._outside = outside
        self._put(outside)

    def __enter__(self) -> None:
        """Put the library's generators in place."""
        self._outside = self._current()
        self._put(self._own)

    def __exit__(self, *error: object) -> None:
        """Keep the library's generators and put the former ones back."""
        self._own = self._current()
        self._put(self._outside)

    def _current(self) -> tuple[Any, Any, torch.Tensor, torch.Tensor | None]:
        """Read the global states."""
        cuda = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
        return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda

    def _put(self, states: tuple[Any, Any, torch.Tensor, torch.Tensor | None]) -> None:
        """Set the global states."""
        python, array, tensor, cuda = states
        random.setstate(python)
        np.random.set_state(array)
        torch.set_rng_state(tensor)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, self._device)

    def state_dict(self) -> dict[str, Any]:
        """Give the library's generators as tensors and JSON values."""
        (version, words, gauss), (name, keys, *rest), tensor, cuda = self._own
        return {
            "python": [version, torch.tensor(words), gauss],
            "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
            "torch": tensor.clone(),
            "cuda": cuda,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the library's generators back."""
        version, words, gauss = state["python"]
        name, keys, *rest = state["numpy"]
        self._own = (
            (version, tuple(words.tolist()), gauss),
            (name, keys.numpy().astype(np.uint32), *rest),
            state["torch"].cpu().clone(),
            None if state["cuda"] is None else state["cuda"].cpu(),
        )
