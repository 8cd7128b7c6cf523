"""Random generators: made from a seed, and restored, also on another kind of device."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from mbrl.values import Seed, check_value


def restore(generator: torch.Generator, state: Tensor) -> None:
    """Load a saved state into a generator.

    On the same kind of device the generator continues bit for bit. The state of a CUDA generator
    has no meaning for one of the CPU, nor the reverse: there it is used as a seed, so that a run
    trained on a GPU can be loaded without one.

    Args:
        generator: changed in place.
        state: bytes (n,) that get_state() returned.
    """
    state = state.cpu()
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        digest = hashlib.sha256(state.numpy().tobytes()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def as_generator(
    source: torch.Generator | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator; a whole number is the seed of a new one.

    Args:
        source: a generator, or a seed.
        device: of a new generator.

    Raises:
        BadInput: if it is neither.
    """
    if isinstance(source, torch.Generator):
        return source
    check_value("generator", source, Seed, {})
    return torch.Generator(device).manual_seed(source)
