"""The profile counts every product of the parts that it names."""

import pytest
import torch

from scripts.benchmarks.profile_training import PARTS, Clock, CountProducts, bare


@pytest.mark.parametrize(("name", "owner", "method"), PARTS, ids=[name for name, *_ in PARTS])
def test_the_parts_are_there(name, owner, method):
    assert callable(getattr(owner, method))


def test_products_are_counted_by_shape_with_those_of_gradients():
    clock = Clock()
    x, weight = torch.randn(2, 7, 3), torch.randn(2, 3, 5, requires_grad=True)
    with CountProducts(clock):
        torch.bmm(x, weight).sum().backward()
        torch.addmm(torch.zeros(5), x[0], weight[0].detach())
    (counted,) = clock.products.values()
    assert counted == {
        (2, 7, 3, 5, torch.float32): 1,
        (2, 3, 7, 5, torch.float32): 1,  # of the weight's gradient
        (1, 7, 3, 5, torch.float32): 1,
    }
    assert all(bare(shape) > 0 for shape in counted)
