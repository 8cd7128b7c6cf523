"""Repeated GPU work as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

_NUM_WARM_UPS = 3  # calls before the capture, in which libraries set themselves up


@final
class Graphed:
    """Function of tensors that is replayed as a CUDA graph.

    For small networks, launching the kernels costs more than running them.

    What a graph requires of the function:

    - it reads and writes only its arguments and tensors that exist before the first call, always
      the same ones;
    - it draws no random numbers, needs no value on the host, and returns nothing;
    - no autograd graph of tensors that it changes outlives the call.

    On the CPU, and for arguments of other shapes than the captured ones, the function is called.

    Args:
        function: called with tensors; the shapes of the fourth call are captured.
    """

    def __init__(self, function: Callable[..., None]):
        """Capture nothing yet."""
        self._function = function
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []

    def __call__(self, *arguments: Tensor) -> None:
        """Run the function once on these tensors."""
        self._calls += 1
        if not arguments[0].is_cuda:
            self._function(*arguments)
            return
        if self._calls <= _NUM_WARM_UPS:
            self._warm_up(arguments)
            return
        if self._graph is None:
            self._inputs = [x.clone() for x in arguments]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._function(*self._inputs)
            self._graph = graph
        if any(x.shape != y.shape for x, y in zip(arguments, self._inputs, strict=True)):
            self._function(*arguments)
            return
        torch._foreach_copy_(self._inputs, list(arguments))
        self._graph.replay()

    def _warm_up(self, arguments: tuple[Tensor, ...]) -> None:
        """Run the function on a stream of its own, as a capture does."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._function(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
