"""Flat parameters of stacked networks, and Adam on them."""

import torch

from mbrl.nn.flat import Adam, group_of, layers, merge
from tests.toys import generator


def test_groups_that_were_merged_come_back():
    sizes = (3, 5, 2)
    flats = [torch.randn(2 * (3 * 5 + 5 + 5 * 2 + 2), generator=generator(k)) for k in range(3)]
    together = merge(flats, 2, sizes)
    for k, flat in enumerate(flats):
        assert group_of(together, 2, sizes, index=k, of=3).equal(flat)
        for (weight, bias), (own, own_bias) in zip(
            layers(together, 6, sizes), layers(flat, 2, sizes), strict=True
        ):
            part = slice(2 * k, 2 * k + 2)
            assert weight[part].equal(own) and bias[part].equal(own_bias)


def test_adam_is_torchs():
    start, draws = torch.randn(40, generator=generator()), generator(1)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    adam, reference = Adam(ours, learning_rate=0.01), torch.optim.Adam([theirs], lr=0.01)
    for _ in range(5):
        gradient = torch.randn(40, generator=draws)
        adam.step(gradient)
        theirs.grad = gradient
        reference.step()
    torch.testing.assert_close(ours, theirs.detach())
