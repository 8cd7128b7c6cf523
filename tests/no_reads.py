"""Proof, on the CPU, that a piece of work reads no number of a device on the host."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import mbrl.types

# operators whose result, or its shape, the host must wait for
WAITING = {
    "_local_scalar_dense",  # item(), tolist(), bool(), int(), float()
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",  # of boolean indices too
    "repeat_interleave",
    "unique",
    "_unique2",
}

METHODS = {"tolist", "numpy", "cpu", "__array__"}  # of a tensor, which call no operator on the CPU


class Methods(TorchFunctionMode):
    """Note of the methods that copy a tensor to the host."""

    def __init__(self, found: list[str]):
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in METHODS:
            self._found.append(name)
        return func(*args, **(kwargs or {}))


class Reads(TorchDispatchMode):
    """Count of the operators that a GPU's host would wait for."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masked = any(x is not None and x.dtype == torch.bool for x in indices)
        if name in WAITING or masked:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the reads of the work within, which runs as on a GPU."""
    monkeypatch.setattr(mbrl.types, "_HOSTS", ())
    mode = Reads()
    with mode, Methods(mode.found):
        yield mode.found
    monkeypatch.undo()
