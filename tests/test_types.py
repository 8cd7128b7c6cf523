"""Windows of one episode, beliefs as trees, actions inside bounds."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbrl.errors import BadInput
from mbrl.types import (
    ActionSpec,
    Transitions,
    check_finite,
    map_tensors,
    sequences,
    where_rows,
)


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


# --- from Python


def arrays(count=6):
    rng = np.random.default_rng(0)
    return {
        "obs": rng.normal(size=(count, 3)),  # float64
        "action": rng.normal(size=(count, 2)).tolist(),
        "next_obs": torch.as_tensor(rng.normal(size=(count, 3))),
        "reward": np.arange(count),
        "terminated": np.array([0, 0, 1, 0, 0, 0]),
        "truncated": [False] * 5 + [True],
    }


def test_arrays_of_any_kind_become_float32_transitions():
    data = Transitions.from_arrays(**arrays())
    assert {x.dtype for x in (data.obs, data.action, data.next_obs, data.reward)} == {torch.float32}
    assert data.terminated.tolist() == [False, False, True, False, False, False]
    assert data.truncated.dtype == torch.bool and data.truncated[-1]
    assert data.episode.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.as_tensor(arrays()["obs"]).float().equal(data.obs)
    bare = Transitions.from_arrays(data.obs, data.action, data.next_obs)
    assert not bare.reward.any() and not bare.terminated.any() and not bare.episode.any()
    assert bare.obs is data.obs  # float32 is not copied


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("obs", np.zeros(6), r"obs: shape \(6,\) should be \(B, N\)"),
        ("action", np.zeros(6), r"action: shape \(6,\) should be \(6, N\)"),
        ("action", np.zeros((5, 2)), r"action: shape \(5, 2\) should be \(6, N\)"),
        ("next_obs", np.zeros((6, 2)), r"next_obs: shape \(6, 2\) should be \(6, 3\)"),
        ("reward", np.zeros((6, 1)), r"reward: shape \(6, 1\) should be \(6,\)"),
        ("terminated", [True], r"terminated: shape \(1,\) should be \(6,\)"),
        ("obs", "text", "obs: str should be an array"),
    ],
)
def test_arrays_of_a_wrong_shape_are_named(name, value, words):
    with pytest.raises(ValueError, match=words):
        Transitions.from_arrays(**{**arrays(), name: value})


def test_action_specs_are_made_of_bounds_or_a_number():
    box = ActionSpec.box([-1, 0], np.array([1.0, 2.0]))
    assert box.kind == "continuous" and box.dim == 2 and box.high.tolist() == [1, 2]
    assert box.low.dtype == torch.float32 and ActionSpec.box(-2, 2).dim == 1
    three = ActionSpec.discrete(3)
    assert three.kind == "discrete" and three.dim == three.num_actions == 3
    assert three.sample(5, generator=torch.Generator().manual_seed(0)).sum(1).tolist() == [1] * 5
    for low, high in (([0, 0], [1]), (0, math.inf), (1, 0), (math.nan, 1)):
        with pytest.raises(ValueError, match="low"):
            ActionSpec.box(low, high)
    with pytest.raises(ValueError, match="num_actions=0: should be at least 1"):
        ActionSpec.discrete(0)


def test_rows_are_selected_and_joined():
    data = Transitions.from_arrays(**arrays())
    odd = torch.tensor([False, True] * 3)
    parts = [data.select(odd), data.select(torch.tensor([0, 2]))]
    whole = Transitions.concatenate(parts)
    assert whole.reward.tolist() == [1, 3, 5, 0, 2]


def test_large_numbers_are_finite_though_their_sum_is_not():
    check_finite("obs", torch.full((2, 2), 3e38))
    with pytest.raises(BadInput, match="row 1 should be finite"):
        check_finite("obs", torch.tensor([[3e38, 3e38], [torch.inf, -torch.inf]]))
