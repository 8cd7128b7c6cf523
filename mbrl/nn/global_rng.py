"""Global generators of Python, numpy and torch for libraries that draw from them."""

from __future__ import annotations

import random
from typing import Any, final

import numpy as np
import torch


@final
class GlobalRng:
    """Global generators of a library's own, active within a `with` block.

    What the library draws there is the same for the same seed, continues from a checkpoint, and
    changes nobody else's draws.

    Args:
        seed: for random.seed, np.random.seed and torch.manual_seed.
        device: where the library's tensors are.
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
        """Set the global generators to the library's."""
        self._outside = self._current()
        self._put(self._own)

    def __exit__(self, *error: object) -> None:
        """Store the library's generators and restore those from before."""
        self._own = self._current()
        self._put(self._outside)

    def _current(self) -> tuple[Any, Any, torch.Tensor, torch.Tensor | None]:
        """Return the global states."""
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
        """Return the library's generators as tensors and JSON values."""
        (version, words, gauss), (name, keys, *others), tensor, cuda = self._own
        return {
            "python": [version, torch.tensor(words), gauss],
            "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *others],
            "torch": tensor.clone(),
            "cuda": cuda,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the library's generators from a state_dict."""
        version, words, gauss = state["python"]
        name, keys, *others = state["numpy"]
        self._own = (
            (version, tuple(words.tolist()), gauss),
            (name, keys.numpy().astype(np.uint32), *others),
            state["torch"].cpu().clone(),
            None if state["cuda"] is None else state["cuda"].cpu(),
        )
