"""Saved generators go on where they were; a state of another device's kind is taken as a seed."""

import pytest
import torch

from mbrl.nn.generators import as_generator, restore
from tests.toys import generator


def test_goes_on_bit_for_bit():
    first, second = generator(3), generator(4)
    torch.rand(7, generator=first)
    restore(second, first.get_state())
    assert torch.rand(5, generator=first).equal(torch.rand(5, generator=second))


def test_the_state_of_another_kind_of_device_is_a_seed():
    state = torch.arange(16, dtype=torch.uint8)  # of this size on CUDA
    drawn = []
    for seed, saved in ((0, state), (1, state), (1, state + 1)):
        own = generator(seed)
        restore(own, saved)
        drawn.append(torch.rand(5, generator=own))
    assert drawn[0].equal(drawn[1])
    assert not drawn[1].equal(drawn[2])


def test_a_seed_stands_for_a_generator():
    drawn = [torch.rand(3, generator=as_generator(7)) for _ in range(2)]
    expected = torch.rand(3, generator=torch.Generator().manual_seed(7))
    assert drawn[0].equal(expected) and drawn[1].equal(expected)
    own = torch.Generator()
    assert as_generator(own) is own
    for wrong in (-1, 0.5, "x"):
        with pytest.raises(ValueError, match=f"generator={wrong!r}: should be"):
            as_generator(wrong)  # type: ignore[arg-type]
