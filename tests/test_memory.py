"""Memory: what is too large ends in a message, and the process goes on."""

import numpy as np
import pytest
import torch

from mbrl.config import compose
from mbrl.config.build import build, farthest_setting, instantiate
from mbrl.errors import BadInput
from mbrl.memory import in_words, is_too_large, limited_memory, total_memory


def test_the_machine_has_memory():
    assert total_memory() > 2**28
    assert in_words(2**30 * 1.5) == "1.5 GiB"


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(10**14),
        lambda: torch.empty(10**12, 10**12),
        lambda: np.empty(10**14),
        lambda: np.empty((10**12, 10**12)),
        lambda: bytearray(10**14),
        lambda: torch.full((2,), 10**30),
    ],
)
def test_what_does_not_fit_is_known(allocate):
    with pytest.raises(Exception) as caught, limited_memory():
        allocate()
    assert is_too_large(caught.value)
    assert not is_too_large(ValueError("shape (3,) should be (4,)"))


def test_more_than_the_machine_has_is_refused_in_pieces_too():
    piece = total_memory() // 3 // 4
    with limited_memory(), pytest.raises((MemoryError, RuntimeError)):
        kept = [torch.empty(piece) for _ in range(8)]  # never touched
        del kept
    assert torch.empty(piece).numel() == piece  # the limit is gone


def test_the_part_and_its_setting_are_named():
    node = {"_target_": "mbrl.planners.CEM", "horizon": 40, "num_samples": 10**9}
    assert farthest_setting(node, "planner") == "planner.num_samples=1000000000"
    config = {"seed": 10**9, "total_steps": 6000, "planner": node}
    assert farthest_setting(config) == "planner.num_samples=1000000000"
    with pytest.raises(BadInput, match="learner.size=.*needs more memory than there is here"):
        instantiate({"_target_": f"{__name__}.make", "size": 10**14}, "learner")


def make(size: int = 3):
    return torch.empty(size)


def test_a_buffer_that_does_not_fit_is_refused_before_it_is_taken():
    sizes = ["total_steps=1000000000000", "buffer_size=1000000000000"]
    config = compose(["agent=random", "env=pendulum", *sizes]).config
    with pytest.raises(BadInput, match="^buffer_size=1000000000000: needs more memory"):
        build(config)
