"""On the CPU a graphed function is simply called; on CUDA see tests/test_gpu.py."""

import torch

from mbrl.nn.cuda_graphs import Graphed


def test_on_the_cpu_every_call_runs_the_function_on_its_own_arguments():
    total = torch.zeros(2)

    def add(x: torch.Tensor, y: torch.Tensor) -> None:
        total.add_((x * y).sum(0))

    graphed = Graphed(add, total.device)
    for rows in (1, 2, 3, 4, 5, 6):  # also of other shapes
        graphed(torch.ones(rows, 2), torch.full((rows, 2), 2.0))
    assert total.tolist() == [42.0, 42.0]
