"""Put saved generators back, also on another kind of device."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def restore(generator: torch.Generator, state: Tensor) -> None:
    """Let a generator go on from a saved state, bit for bit where that was of the same device.

    The state of a CUDA generator means nothing to one of the CPU, nor the reverse: there it is
    taken as a seed, so that a run trained on a GPU can be loaded where there is none.

    Args:
        generator: changed in place.
        state: bytes (n,), of get_state().
    """
    state = state.cpu()
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        digest = hashlib.sha256(state.numpy().tobytes()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
