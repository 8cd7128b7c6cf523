"""Datasets: what is written comes back, and what is damaged is refused in one line."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbrl.agents import Random
from mbrl.cli import main
from mbrl.data import Source, collect, content_hash, load_dataset, merge, save_dataset
from mbrl.data.dataset import episodes
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Transitions
from tests.toys import ACTION, ToyEnv, generator, move

TINY = (
    "train agent=mbpo env=pendulum experiment=none total_steps=60 save_every=60 eval_episodes=1 "
    "agent.learning_starts=40 agent.num_rollouts=20 agent.updates_per_step=1 learner.hidden=8 "
    "dynamics.hidden=8 dynamics.num_layers=1 dynamics.min_updates=5 dynamics.max_updates=5 "
    "run_dir=run"
)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def toy(steps: int = 90, envs: int = 2) -> Transitions:
    source = Source(Random(action=ACTION, generator=generator(1)))
    return collect(ToyEnv(envs), source, steps, seed=3, generator=generator(2))


def save(id: str = "toy/random-v0", data: Transitions | None = None):
    data = toy() if data is None else data
    return save_dataset(id, data, ACTION, env="toy", algorithm="random", ref_min=-9, ref_max=-1)


def test_successors_are_the_true_ones_across_resets():
    data = toy()
    assert len(data.reward) == 90
    torch.testing.assert_close(data.next_obs, move(data.obs, ACTION.clip(data.action)))
    found = episodes(data)
    assert len(found) > 4
    for each in found:
        assert each.next_obs[:-1].equal(each.obs[1:]), "a step does not begin where the one before ended"
        ends = each.terminated | each.truncated
        assert ends[-1] and not ends[:-1].any()
        assert not (each.terminated & each.truncated).any()


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


def test_the_hash_is_of_the_contents_alone():
    data = toy()
    assert content_hash(data) == content_hash(data._replace(episode=data.episode * 3 + 5))
    for name in ("obs", "reward", "terminated"):  # one row, by little
        changed = getattr(data, name).clone()
        changed[7] = ~changed[7] if changed.dtype == torch.bool else changed[7] + 1e-6
        assert content_hash(data) != content_hash(data._replace(**{name: changed}))


def test_a_mix_takes_whole_episodes_spread_over_each_part():
    one, other = toy(200), toy(200, envs=4)
    mixed = merge([one, other], [60, 40])
    assert len(mixed.reward) == 100
    first = Transitions(*(x[:60] for x in mixed))
    rows = {tuple(row) for row in first.obs.tolist()}
    taken = [i for i, row in enumerate(one.obs.tolist()) if tuple(row) in rows]
    assert len(taken) == 60 and max(taken) > 150 and min(taken) < 50
    for each in episodes(mixed):
        assert each.next_obs[:-1].equal(each.obs[1:])
        assert (each.terminated | each.truncated)[-1]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        save()
    return folder


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
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
    with pytest.raises(BadInput, match="reward of episode 1 is not finite"):
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
    with pytest.raises(BadInput, match="episode 2 has .* observations"):
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


def test_the_command_line(tmp_path, monkeypatch, capsys, home):
    monkeypatch.chdir(tmp_path)
    assert main(TINY.split()) == 0
    capsys.readouterr()
    mix = "--mix random:2,expert,replay"
    assert main(f"collect run --steps 100 --id pendulum/mixed-v0 {mix}".split()) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 100 and said["dataset"] == "pendulum/mixed-v0"
    read = load_dataset("pendulum/mixed-v0", obs_dim=3)
    assert said["sha256"] == read.digest and read.env == "pendulum"
    assert main(f"collect run --steps 100 --id pendulum/mixed-v1 {mix}".split()) == 0
    assert load_dataset("pendulum/mixed-v1").digest == read.digest, "the same seed, other data"
    medium = "collect run --steps 400 --id pendulum/medium-v0 --mix medium"
    assert main(medium.split()) == 0
    assert load_dataset("pendulum/medium-v0").returns().shape == (2,)
    capsys.readouterr()
    for line, words in (
        ("collect run --steps 100 --id pendulum/mixed-v0", "already there"),
        ("collect run --steps 100 --id pendulum/mixed", "it should be like"),
        ("collect run --steps 0 --id a-v0", "whole number from 1"),
        ("collect run --steps 5 --id a-v0 --mix expret", "one of random, medium, expert, replay"),
        ("collect run --steps 5 --id a-v0 --mix expert:0", "with a share"),
        ("collect run --steps 500 --id a-v0 --mix replay", "the run has 60"),
        ("collect nowhere --steps 5 --id a-v0", "no such run folder"),
    ):
        assert main(line.split()) == 2, line
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
    assert not (home / "a-v0").exists()


def test_random_steps_are_taken_as_often_as_asked():
    class Still(Random):
        def act(self, obs, *, explore, env_state=None):
            return torch.zeros(len(obs), 1)

    agent = Still(action=ACTION, generator=generator(1))
    for share in (0.0, 0.3, 1.0):
        data = collect(ToyEnv(4), Source(agent, random=share), 2000, seed=3, generator=generator(2))
        taken = (data.action != 0).float().mean().item()
        assert taken == pytest.approx(share, abs=0.04)
