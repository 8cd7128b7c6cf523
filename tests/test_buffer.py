"""The ring against a plain list."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbrl.buffer import ReplayBuffer, mix
from mbrl.types import Transitions
from tests.learners.sac_problems import experience, seeded


def numbered(first: int, count: int) -> Transitions:
    x = torch.arange(first, first + count).float()
    two = x[:, None].expand(-1, 2)
    return Transitions(two, x[:, None], x, two + 1, x % 2 == 0, x % 3 == 0, x.long())


@given(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=8))
def test_holds_the_newest_rows_in_order(capacity, sizes):
    buffer, total = ReplayBuffer(capacity, 2, 1), 0
    for size in sizes:
        buffer.add(numbered(total, size))
        total += size
    held = buffer.all()
    expected = list(range(max(0, total - capacity), total))
    assert held.episode.tolist() == expected and len(buffer) == len(expected)
    for found, wanted in zip(held, numbered(0, total) if total else held, strict=True):
        torch.testing.assert_close(found, wanted[expected])


def test_samples_are_uniform_and_repeat_with_the_generator():
    buffer = ReplayBuffer(10, 2, 1)
    buffer.add(numbered(0, 4))
    first = buffer.sample(4000, generator=torch.Generator().manual_seed(1))
    again = buffer.sample(4000, generator=torch.Generator().manual_seed(1))
    assert first.episode.equal(again.episode)
    assert torch.bincount(first.episode, minlength=4).min() > 900
    assert first.next_obs.equal(first.obs + 1)


def test_state_goes_round_and_a_foreign_one_is_refused():
    buffer = ReplayBuffer(5, 2, 1)
    buffer.add(numbered(0, 7))
    other = ReplayBuffer(5, 2, 1)
    other.load_state_dict(buffer.state_dict())
    for a, b in zip(buffer.all(), other.all(), strict=True):
        assert a.equal(b)
    with pytest.raises(ValueError, match="do not fit"):
        ReplayBuffer(5, 3, 1).load_state_dict(buffer.state_dict())


def test_rows_of_another_length_are_refused_even_if_the_widths_add_up():
    x = torch.zeros(4)
    data = Transitions(x[:, None], torch.zeros(4, 3), x, x[:, None], x > 0, x > 0, x.long())
    buffer = ReplayBuffer(8, 2, 1)  # 2 + 1 + 2 = 1 + 3 + 1
    with pytest.raises(ValueError, match=r"obs: shape \(4, 1\) should be \(B, 2\)"):
        buffer.add(data)
    assert len(buffer) == 0


@given(st.integers(1, 40), st.floats(0, 1), st.integers(1, 4))
def test_mix_takes_the_share_of_real_rows(batch_size, ratio, num_batches):
    real, imagined = ReplayBuffer(5, 1, 1), ReplayBuffer(9, 1, 1)
    for buffer, mark in ((real, 1.0), (imagined, 2.0)):
        x, no = torch.full((5, 1), mark), torch.zeros(5, dtype=torch.bool)
        buffer.add(Transitions(x, x, x[:, 0], x, no, no, no.long()))
    rows = mix(
        real,
        imagined,
        batch_size,
        real_ratio=ratio,
        num_batches=num_batches,
        generator=seeded(),
    )
    assert rows.shape == (num_batches, batch_size, 6)
    assert ((rows[:, :, 0] == 1).sum(1) == round(ratio * batch_size)).all()


def test_mix_makes_do_with_one_buffer():
    full, empty, g = experience(10), ReplayBuffer(10, 3, 2), seeded()
    for real, imagined in ((full, None), (full, empty), (empty, full)):
        assert mix(real, imagined, 8, real_ratio=0.5, generator=g).shape == (1, 8, 11)
    with pytest.raises(ValueError, match="empty"):
        mix(empty, None, 8, real_ratio=0.5, generator=g)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_mix_writes_the_same_rows_into_given_memory(ratio):
    real, imagined = experience(10), experience(20)
    out = torch.full((3, 8, 11), torch.nan)
    options = {"real_ratio": ratio, "num_batches": 3}
    expected = mix(real, imagined, 8, generator=seeded(2), **options)
    assert mix(real, imagined, 8, generator=seeded(2), out=out, **options) is out
    assert out.equal(expected)
