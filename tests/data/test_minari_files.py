"""Datasets: what is written comes back, and what is damaged is refused in one line."""

import random
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbrl.data import content_hash, load_dataset
from mbrl.data.dataset import episodes
from mbrl.errors import BadInput
from mbrl.types import ActionSpec
from tests.data.samples import save, toy
from tests.toys import ACTION

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors


def test_what_is_written_comes_back(home):
    data = toy()
    saved = save(data=data)
    read = load_dataset("toy/random-v0", obs_dim=2, action=ACTION)
    for name, a, b in zip(data._fields, data, read.data, strict=True):
        assert a.dtype == b.dtype and a.equal(b), name
    assert read.digest == saved.digest == content_hash(data) and read.env == "toy"
    assert read.normalized(-9) == 0 and read.normalized(-5) == 50
    rewards = torch.stack([each.reward.double().sum() for each in episodes(data)])
    torch.testing.assert_close(read.returns(), rewards)


def test_minari_itself_reads_it(home):
    import minari

    data = toy()
    save(data=data)
    stored = minari.load_dataset("toy/random-v0")
    assert stored.total_steps == 90
    for own, theirs in zip(episodes(data), stored.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(theirs.observations[1:], own.next_obs)
        np.testing.assert_array_equal(theirs.terminations, own.terminated)
        np.testing.assert_array_equal(theirs.truncations, own.truncated)
    scores = minari.get_normalized_score(stored, np.array([-9.0, -1.0]))
    np.testing.assert_allclose(scores, [0, 1])


def test_a_dataset_that_minari_made_is_read(home, caplog):
    import gymnasium
    import minari
    from minari.data_collector.episode_buffer import EpisodeBuffer

    obs = np.arange(8, dtype=np.float32).reshape(4, 2)
    never = [False] * 3
    buffer = EpisodeBuffer(0, None, None, obs, np.array([1, 2, 1]), [0.0, 1.0, 2.0], never, never)
    minari.create_dataset_from_buffers(
        "theirs-v0", [buffer], data_format="hdf5",
        observation_space=gymnasium.spaces.Box(-9, 9, (2,)),
        action_space=gymnasium.spaces.Discrete(2, start=1),
    )  # fmt: skip
    read = load_dataset("theirs-v0")
    assert read.data.action.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert read.data.next_obs.tolist() == [[2, 3], [4, 5], [6, 7]]
    assert read.data.truncated.tolist() == [False, False, True], "cut off: the value goes on"
    assert "no checksums" in caplog.text
    with pytest.raises(BadInput, match="has no reference returns"):
        read.normalized(1.0)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        save()
    return folder


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_damage_is_refused_by_name(stored, tmp_path_factory, monkeypatch, data):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(stored, folder, dirs_exist_ok=True)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    own = folder / "toy/random-v0"
    files = sorted(f for f in own.rglob("*") if f.is_file())
    assert [f.name for f in files] == ["main_data.hdf5", "metadata.json", "manifest.json"]
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "gone"]))
    if how == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(content[:at])
    else:
        file.unlink()
    if how == "gone" and file.name == "manifest.json":
        return  # then it is a dataset like those of others
    with pytest.raises(BadInput, match=f"{file.name}: (damaged|missing)") as caught:
        load_dataset("toy/random-v0")
    assert "\n" not in str(caught.value)


def test_without_checksums_a_change_of_the_contents_is_still_found(stored, home):
    import h5py

    shutil.copytree(stored, home)
    own = home / "toy/random-v0"
    (own / "manifest.json").unlink()
    load_dataset("toy/random-v0")
    with h5py.File(own / "data/main_data.hdf5", "a") as file:
        file["episode_1/rewards"][0] += 1
    with pytest.raises(BadInput, match="contents are not those"):
        load_dataset("toy/random-v0")
    with h5py.File(own / "data/main_data.hdf5", "a") as file:
        file["episode_1/rewards"][0] = np.nan
    with pytest.raises(BadInput, match="episode 1: not every reward is finite"):
        load_dataset("toy/random-v0")
    draws = random.Random(0)
    content = (own / "data/main_data.hdf5").read_bytes()
    for _ in range(20):
        (own / "data/main_data.hdf5").write_bytes(content[: draws.randrange(len(content))])
        with pytest.raises(BadInput, match="dataset=toy/random-v0") as caught:
            load_dataset("toy/random-v0")
        assert "\n" not in str(caught.value)


def test_an_episode_cut_short_is_refused(stored, home):
    import h5py

    shutil.copytree(stored, home)
    own = home / "toy/random-v0"
    (own / "manifest.json").unlink()
    with h5py.File(own / "data/main_data.hdf5", "a") as file:
        kept = file["episode_2/observations"][:-1]
        del file["episode_2/observations"]
        file["episode_2/observations"] = kept
    with pytest.raises(BadInput, match="episode 2: .* observations"):
        load_dataset("toy/random-v0")
    with h5py.File(own / "data/main_data.hdf5", "a") as file:
        del file["episode_2"]
    with pytest.raises(BadInput, match="dataset=toy/random-v0"):
        load_dataset("toy/random-v0")


def test_wrong_spaces_and_names(home):
    save()
    discrete = ActionSpec("discrete", torch.zeros(2), torch.ones(2), 2)
    for options, words in (
        ({"obs_dim": 3}, "observations of 2 numbers, but the environment's have 3"),
        ({"action": discrete}, "continuous actions of 1 numbers"),
    ):
        with pytest.raises(BadInput, match=words):
            load_dataset("toy/random-v0", **options)
    with pytest.raises(BadInput, match="did you mean toy/random-v0"):
        load_dataset("random-v0")
    with pytest.raises(BadInput, match="it should be like"):
        load_dataset("toy random")


def recorded(id, **changed):
    """Make a dataset by Minari, of one episode of five steps."""
    import gymnasium
    import minari
    from minari.data_collector.episode_buffer import EpisodeBuffer

    arrays = {
        "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
        "actions": np.zeros((5, 1), np.float32),
        "rewards": np.arange(5.0),
        "terminations": [False] * 4 + [True],
        "truncations": [False] * 5,
    }
    buffer = EpisodeBuffer(0, None, None, **(arrays | changed))
    minari.create_dataset_from_buffers(
        id, [buffer], data_format="hdf5",
        observation_space=gymnasium.spaces.Box(-99, 99, (2,)),
        action_space=gymnasium.spaces.Box(-1, 1, (1,)),
    )  # fmt: skip


def test_an_episode_is_split_where_it_terminates_in_the_middle(home, caplog):
    recorded("theirs-v0", terminations=[False, True, False, False, True])
    read = load_dataset("theirs-v0")
    assert read.data.episode.tolist() == [0, 0, 1, 1, 1]
    assert read.data.terminated.tolist() == [False, True, False, False, True]
    assert read.returns().tolist() == [1, 9] and "1 terminations are not the last" in caplog.text


def test_rewards_in_a_column_are_read_and_others_refused(home):
    recorded("column-v0", rewards=np.arange(5.0)[:, None])
    assert load_dataset("column-v0").data.reward.tolist() == [0, 1, 2, 3, 4]
    recorded("two-v0", rewards=np.zeros((5, 2)))
    with pytest.raises(BadInput, match=r"episode 0: rewards of shape \(5, 2\); should be one num"):
        load_dataset("two-v0")


def test_a_folder_that_is_no_dataset_does_not_hide_what_is_missing(home):
    recorded("plain-v0")
    (home / "no_version" / "data").mkdir(parents=True)
    (home / "no_version" / "data" / "main_data.hdf5").write_bytes(b"")
    with pytest.raises(BadInput, match="dataset=other-v0: not in "):
        load_dataset("other-v0")
