"""A dataset in memory: its hash, its returns and scores, its episodes."""

import pytest
import torch

from mbrl.data import Dataset, content_hash
from mbrl.data.dataset import check_known, check_spaces, episodes, join
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Task, Transitions
from tests.data.samples import toy
from tests.toys import ACTION


def rows(*numbers: int) -> Transitions:
    """Make one-step rows of the episodes with these numbers; a row's reward is its place."""
    place = torch.arange(len(numbers), dtype=torch.float32)
    obs, never = place[:, None], torch.zeros(len(numbers), dtype=torch.bool)
    return Transitions(obs, obs, place, obs + 1, never, never, torch.tensor(numbers))


def test_returns_are_summed_by_episode_in_the_order_of_their_numbers():
    data = rows(7, 7, 2, 7, 2)
    dataset = Dataset(data, "a", content_hash(data), ACTION, ref_min=2.0, ref_max=10.0)
    assert dataset.returns().tolist() == [2 + 4, 0 + 1 + 3]
    assert dataset.normalized(2) == 0 and dataset.normalized(10) == dataset.score(10) == 100
    assert dataset.normalized(6) == 50


@pytest.mark.parametrize("scale", [(None, 1.0), (1.0, None), (3.0, 3.0)])
def test_without_a_scale_there_is_no_score(scale):
    dataset = Dataset(rows(0), "a", "", ACTION, *scale)
    assert dataset.score(1.0) is None
    with pytest.raises(BadInput, match="dataset=a: has no reference returns"):
        dataset.normalized(1.0)


def test_episodes_are_split_in_time_order_and_joined_again():
    parts = episodes(rows(5, 1, 5, 1, 1))
    assert [part.reward.tolist() for part in parts] == [[1, 3, 4], [0, 2]]
    whole = join(parts)
    assert whole.reward.tolist() == [1, 3, 4, 0, 2]
    assert whole.episode.tolist() == [0, 0, 0, 1, 1]


def test_data_of_other_shapes_are_refused():
    data = rows(0)
    check_spaces("a", data, ACTION, 1, ACTION)
    check_spaces("a", data, ACTION, None, None)
    with pytest.raises(BadInput, match="observations of 1 numbers, but the environment's have 3"):
        check_spaces("a", data, ACTION, 3, None)
    discrete = ActionSpec("discrete", torch.zeros(1), torch.ones(1), 1)
    with pytest.raises(BadInput, match="continuous actions of 1 numbers.* are discrete of 1"):
        check_spaces("a", data, ACTION, None, discrete)


def test_the_hash_is_of_the_contents_alone():
    data = toy()
    assert content_hash(data) == content_hash(data._replace(episode=data.episode * 3 + 5))
    for name in ("obs", "reward", "terminated"):  # one row, by little
        changed = getattr(data, name).clone()
        changed[7] = ~changed[7] if changed.dtype == torch.bool else changed[7] + 1e-6
        assert content_hash(data) != content_hash(data._replace(**{name: changed}))


def test_a_known_end_may_fall_on_a_time_limit_but_not_within_an_episode():
    task = Task(terminated=lambda obs, action, next_obs: next_obs[:, 0] > 2)
    data = rows(0, 0, 0, 1, 1)  # rows 2, 3 and 4 have ended by what is known
    data = data._replace(terminated=torch.tensor([False, False, False, True, False]))
    check_known(Dataset(data, "a", "", ACTION), task)
    within = data._replace(episode=torch.tensor([0, 1, 2, 3, 3]))
    within = within._replace(terminated=torch.tensor([False, False, False, False, True]))
    with pytest.raises(BadInput, match=r"dataset=a: task.terminated .*\(row 3\)"):
        check_known(Dataset(within, "a", "", ACTION), task)


def test_a_known_reward_is_checked_where_an_episode_was_cut_too():
    task = Task(reward=lambda obs, action, next_obs: obs[:, 0])
    data = rows(0, 0, 0, 1, 1)
    check_known(Dataset(data, "a", "", ACTION), task)
    wrong = data._replace(reward=torch.tensor([0.0, 1, 2, 3, 5]))
    with pytest.raises(BadInput, match=r"dataset=a: task.reward .*\(row 4\)"):
        check_known(Dataset(wrong, "a", "", ACTION), task)
