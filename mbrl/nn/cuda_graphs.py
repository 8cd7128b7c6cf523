"""Repeated GPU work as one CUDA graph."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, final

import torch
from torch import Tensor

_NUM_WARM_UPS = 3  # calls before the capture, in which libraries set themselves up
_MOST_GRAPHS = 8  # kept; of more the one that was not replayed for longest goes


@final
class Graphed:
    """Function of tensors that is replayed as a CUDA graph.

    For small networks, launching the kernels costs more than running them.

    What a graph requires of the function:

    - it reads and writes only its arguments and tensors that exist before the first call, always
      the same ones;
    - it draws random numbers only from the named generators, needs no value on the host, and
      returns nothing;
    - no autograd graph of tensors that it changes outlives the call.

    On the CPU the function is called. On CUDA the first calls are, and later ones replay a graph:
    one for each set of options and of the tensors' shapes.

    Args:
        function: called with tensors, and options after them.
        device: of everything in it.
        generators: sources of its random numbers, which go on from replay to replay.
    """

    def __init__(
        self,
        function: Callable[..., None],
        device: torch.device,
        *,
        generators: Sequence[torch.Generator] = (),
    ):
        """Capture nothing yet."""
        self._function = function
        self._on_cuda = device.type == "cuda"
        self._generators = generators
        self._calls = 0
        self._graphs: OrderedDict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor]]] = (
            OrderedDict()
        )

    def __call__(self, *arguments: Tensor, options: tuple[Hashable, ...] = ()) -> None:
        """Run the function once.

        Args:
            arguments: tensors of the function; a replay copies them.
            options: its other arguments.
        """
        self._calls += 1
        if not self._on_cuda:
            self._function(*arguments, *options)
        elif self._calls <= _NUM_WARM_UPS:
            self._warm_up(*arguments, *options)
        else:
            key = (options, *(x.shape for x in arguments))
            if key not in self._graphs:
                self._graphs[key] = self._capture(arguments, options)
            self._graphs.move_to_end(key)
            if len(self._graphs) > _MOST_GRAPHS:
                self._graphs.popitem(last=False)
            graph, inputs = self._graphs[key]
            if inputs:
                torch._foreach_copy_(inputs, list(arguments))
            graph.replay()

    def _capture(
        self, arguments: tuple[Tensor, ...], options: tuple[Hashable, ...]
    ) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
        """Capture the function for arguments of these shapes; nothing of it is run."""
        inputs = [x.clone() for x in arguments]
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            self._function(*inputs, *options)
        return graph, inputs

    def _warm_up(self, *arguments: Any) -> None:
        """Run the function on a stream of its own, as a capture does."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._function(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
