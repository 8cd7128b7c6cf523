"""Replay what is done over and over on a GPU as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM = 3  # calls before the capture: libraries set themselves up in the first ones


class Graphed:
    """Call a function of tensors, on CUDA as one graph.

    There, launching a small network's kernels costs more than running them.

    The function may change tensors that outlive it and may read them, always the same ones. It
    draws nothing at random, asks for no value on the host and returns nothing; and nobody keeps a
    graph of autograd over what it differentiates. On the CPU, and for arguments of other shapes
    than the graph's, it is simply called.

    Args:
        function: takes tensors, the shapes of the fourth call being those of the graph.
    """

    def __init__(self, function: Callable[..., None]):
        """Capture nothing yet."""
        self._function = function
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []

    def __call__(self, *given: Tensor) -> None:
        """Do it once, on these tensors."""
        self._calls += 1
        if not given[0].is_cuda:
            self._function(*given)
            return
        if self._calls <= WARM:
            self._warm(given)
            return
        if self._graph is None:
            self._inputs = [x.clone() for x in given]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._function(*self._inputs)
            self._graph = graph
        if any(x.shape != y.shape for x, y in zip(given, self._inputs, strict=True)):
            self._function(*given)
            return
        torch._foreach_copy_(self._inputs, list(given))
        self._graph.replay()

    def _warm(self, given: tuple[Tensor, ...]) -> None:
        """Call the function on a stream of its own, as a capture does."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._function(*given)
        torch.cuda.current_stream().wait_stream(stream)
