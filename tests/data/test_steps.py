"""Steps of flat arrays: where episodes end, what is bootstrapped, and which arrays are refused."""

import numpy as np
import pytest

from mbrl.data import steps as module
from mbrl.data.steps import Steps, at_limit, check_layout, column, flags, table, to_transitions
from mbrl.errors import BadInput


def counted(terminated, last=None, next_obs=None, obs=None):
    """Steps whose observations count on: 0, 1, 2, ..."""
    count = len(terminated)
    obs = np.arange(count) if obs is None else np.array(obs)
    rows = obs.astype(np.float32)[:, None]
    return Steps(
        rows, 10 * rows, 100 * rows[:, 0], None if next_obs is None else next_obs(rows),
        np.array(terminated, dtype=bool), None if last is None else np.array(last, dtype=bool),
    )  # fmt: skip


def test_the_limit_is_counted_from_the_last_end(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 3)
    last = np.array([0, 0, 0, 0, 1, 0, 0, 0, 0], dtype=bool)
    assert at_limit(last).tolist() == [0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert at_limit(np.array([1, 0, 0, 0], dtype=bool)).tolist() == [0, 0, 0, 1]


def test_episodes_end_at_terminals_at_flags_and_at_the_last_step():
    data = to_transitions(counted([0, 1, 0, 0, 0], [0, 0, 0, 1, 0], lambda x: x + 1)).data
    assert data.episode.tolist() == [0, 0, 1, 1, 2]
    assert data.terminated.tolist() == [0, 1, 0, 0, 0]
    assert data.truncated.tolist() == [0, 0, 0, 1, 1]  # the value goes on, but for the terminal
    assert data.next_obs[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert data.action[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert data.reward.tolist() == [0, 100, 200, 300, 400]


def test_an_episode_ends_where_the_observations_do_not_join():
    data = to_transitions(counted([0] * 5, None, lambda x: x + 1, obs=[0, 1, 2, 7, 8])).data
    assert data.episode.tolist() == [0, 0, 0, 1, 1]
    assert data.truncated.tolist() == [0, 0, 1, 0, 1]


def test_without_successors_the_next_row_is_the_successor_and_terminals_have_none():
    data, recorded, returns = to_transitions(counted([0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 1, 0]))
    assert data.obs[:, 0].tolist() == [0, 1, 2, 3]
    assert data.next_obs[:, 0].tolist() == [1, 2, 2, 4]
    assert recorded.tolist() == [1, 1, 0, 1] and data.terminated.tolist() == [0, 0, 1, 0]
    assert data.episode.tolist() == [0, 0, 0, 1] and data.truncated.tolist() == [0, 0, 0, 1]
    assert returns.tolist() == [300, 700, 500]
    with pytest.raises(BadInput, match="no episode of two steps"):
        to_transitions(counted([0, 0], [1, 1]))


def test_what_is_given_is_not_changed():
    given = counted([0, 1, 0], [0, 0, 0], lambda x: x + 1)
    to_transitions(given)
    assert given.last is not None and not given.last.any()


def arrays(**changed):
    whole = {"x": np.zeros((4, 2)), "y": np.zeros(4), "next_x": np.ones((4, 2))}
    return {name: x for name, x in {**whole, **changed}.items() if x is not None}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y": None}, "has no y; Own's layout is x, y"),
        ({"y": np.array(["a"] * 4)}, "y holds <U1, not numbers"),
        ({"y": np.zeros(3)}, "y has 3 rows where x has 4; copy or download it again"),
        ({"y": np.zeros(())}, "y has 0 rows where x has 4"),
        ({"next_x": np.zeros((4, 3))}, "next_x is of another shape than x"),
        ({name: np.zeros((0, 2)) for name in ("x", "y", "next_x")}, "holds no steps"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(changed, words):
    check_layout(arrays(), "Own", ("x", "y"), "next_x")
    check_layout(arrays(next_x=None, index=np.zeros(9)), "Own", ("x", "y"), "next_x")
    with pytest.raises(BadInput, match=words):
        check_layout(arrays(**changed), "Own", ("x", "y"), "next_x")


def test_numbers_are_read_as_float32_tables_and_columns():
    made = table({"x": np.array([1, 2, 3])}, "x")
    assert made.tolist() == [[1], [2], [3]] and made.dtype == np.float32
    assert table({"x": np.ones((3, 2))}, "x").shape == (3, 2)
    assert column({"x": np.array([[1.5], [2]])}, "x").tolist() == [1.5, 2]
    assert flags({"x": np.array([[0.0], [1]])}, "x").tolist() == [False, True]


@pytest.mark.parametrize(
    ("read", "array", "words"),
    [
        (table, np.zeros((2, 3, 4)), r"x of shape \(2, 3, 4\); should be \(steps, numbers\)"),
        (table, np.array([[0.0, 1], [2, np.nan]]), "x of step 1 is not finite"),
        (column, np.array([0.0, np.inf]), "x of step 1 is not finite"),
        (column, np.array([1e39, 0.0]), "x of step 0 is not finite"),  # beyond float32
        (column, np.zeros((3, 2)), r"x of shape \(3, 2\); should be one number a step"),
        (flags, np.array([0, 1, 2]), "x of step 2 is neither 0 nor 1"),
        (flags, np.array([0, np.nan]), "x of step 1 is neither 0 nor 1"),
    ],
)
def test_arrays_of_wrong_numbers_are_named(read, array, words):
    with pytest.raises(BadInput, match=words):
        read({"x": array}, "x")
