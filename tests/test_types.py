"""Windows of one episode, beliefs as trees, actions inside bounds."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbrl.types import ActionSpec, Transitions, map_tensors, sequences, where_rows


def rows(episode: list[int]) -> Transitions:
    n = len(episode)
    flags = torch.zeros(n, dtype=torch.bool)
    x = torch.arange(n).float()[:, None]
    return Transitions(x, x, x[:, 0], x + 1, flags, flags, torch.tensor(episode))


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 6))
def test_sequences_are_all_windows_of_one_episode(episode, length):
    found = sequences(rows(episode), length).tolist()
    expected = []
    for number in set(episode):
        own = [i for i, e in enumerate(episode) if e == number]
        expected += [own[i : i + length] for i in range(len(own) - length + 1)]
    assert sorted(found) == sorted(expected)


def test_sequences_refuse_a_length_of_zero():
    with pytest.raises(ValueError, match="at least 1"):
        sequences(rows([0, 0]), 0)


def test_map_tensors_keeps_structure_and_what_is_no_tensor():
    class Belief(NamedTuple):
        x: torch.Tensor
        inner: tuple
        members: tuple[int, ...]

    belief = Belief(torch.ones(2), (torch.ones(3),), (4, 5))
    doubled = map_tensors(lambda a, b: a + b, belief, belief)
    assert isinstance(doubled, Belief)
    assert doubled.x.tolist() == [2, 2] and doubled.inner[0].tolist() == [2, 2, 2]
    assert doubled.members == (4, 5)


@given(st.integers(0, 10_000))
def test_actions_are_drawn_and_clipped_inside_the_bounds(seed):
    spec = ActionSpec("continuous", torch.tensor([-1.0, 2.0]), torch.tensor([0.5, 3.0]))
    drawn = spec.sample(50, generator=torch.Generator().manual_seed(seed))
    assert ((drawn >= spec.low) & (drawn <= spec.high)).all()
    assert drawn.std(0).min() > 0.1
    torch.testing.assert_close(spec.clip(drawn * 100), spec.clip(spec.clip(drawn * 100)))


def test_discrete_actions_are_one_hot_and_all_drawn():
    spec = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)
    drawn = spec.sample(200, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (200, 3) and (drawn.sum(1) == 1).all()
    assert (drawn.sum(0) > 30).all()


def test_rows_are_chosen_by_a_mask_in_tensors_of_any_shape_and_nested_tuples():
    new = (torch.ones(3), (torch.ones(3, 2), torch.ones(3, 2, 2)), "kind")
    old = (torch.zeros(3), (torch.zeros(3, 2), torch.zeros(3, 2, 2)), "other")
    first, (second, third), kind = where_rows(torch.tensor([True, False, True]), new, old)
    for rows in (first, second[:, 1], third[:, 0, 1]):
        assert rows.tolist() == [1, 0, 1]
    assert kind == "kind"
