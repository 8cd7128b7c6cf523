"""The check names every fault with index and step, and passes a sound environment."""

import re

import gymnasium
import numpy as np
import pytest

from mbrl.envs import GymnasiumProcess, GymnasiumVecEnv, make_vec, tasks
from mbrl.envs.check import check_env, difference_from_original, examine
from scripts.robustness.odd_environments import Odd
from tests.envs.broken import HOW
from tests.envs.faulty import HERE, make
from tests.toys import ToyEnv


@pytest.mark.parametrize("how", HERE)
def test_the_doctor_names_every_one(how):
    way = HOW[how]
    made = []

    def once():
        made.append(make(how, 1, seed=1, strict=True))
        return made[-1]

    # a further step is taken after restoring
    steps = {"close raises": way.step - 1, "never ends": way.step}.get(how, 30)
    found = check_env(once, seed=1, num_steps=steps)
    assert found is not None, "nothing was found"
    named = re.fullmatch(r"environment 0, step (\d+): (.*)", found)
    assert named and re.search(way.doctor or way.named, named[2]), found
    assert int(named[1]) == way.step


@pytest.mark.parametrize("how", ["is killed", "leaks memory"])
def test_the_doctor_survives_what_ends_a_process(how):
    def once():
        return make(how, 1, kind=GymnasiumProcess, seed=1, strict=True)

    found = check_env(once, seed=1) or ""
    assert re.search(HOW[how].named, found) and re.match(r"environment 0, step \d: ", found)


@pytest.mark.parametrize("seed", [0, 2])
def test_the_doctor_finds_nothing_wrong_with_a_sound_one(seed):
    def once():
        return make("step raises", 1, seed=seed, strict=True)  # only seed 1 raises

    assert check_env(once, seed=seed, num_steps=100) is None
    assert check_env(lambda: ToyEnv(2), num_steps=100) is None


def test_terms_of_a_reward_that_do_not_add_up_are_noted():
    def notes(how):
        def once():
            env = gymnasium.wrappers.TimeLimit(Odd(how), 20)
            return GymnasiumVecEnv.around([env], strict=True)

        return examine(once, num_steps=50)

    assert notes("reward terms") == notes("") == ([], [])
    faults, (note,) = notes("reward terms that do not add up")
    assert not faults and re.fullmatch(
        r"environment 0, step 4: the terms of the reward in info, reward_near, reward_alive, "
        r"add up to (-?[\d.]+), and the reward is (-?[\d.]+)",
        note,
    ), note
    total, reward = map(float, re.findall(r"-?\d[.]\d+", note))
    assert total - reward == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("name", ["Hopper-v5", "InvertedDoublePendulum-v5", "Reacher-v5"])
def test_terms_of_the_frameworks_own_rewards_add_up_and_others_are_noted(name, monkeypatch):
    def notes():
        return [n for n in examine(lambda: make_vec(name), num_steps=60).notes if "terms" in n]

    assert not notes()
    task = type(make_vec(name).simulation.equations)
    terms = task.step_info
    monkeypatch.setattr(task, "step_info", lambda *a: terms(*a) | {"reward_new": np.ones(1)})
    assert len(notes()) == 1 and "reward_new" in notes()[0]


def test_an_environment_of_the_same_name_is_compared_with_gymnasiums(monkeypatch):
    for name in ("Hopper-v5", "Pendulum-v1"):
        assert difference_from_original(name, num_steps=60) is None
    terms = tasks.Hopper.step_info
    changed = {"reward_ctrl": lambda info: {"reward_ctrl": 2 * info["reward_ctrl"]},
               "info has": lambda info: {"more": np.zeros(1)}}  # fmt: skip
    for words, change in changed.items():
        monkeypatch.setattr(
            tasks.Hopper, "step_info", lambda *a, c=change: terms(*a) | c(terms(*a))
        )
        found = difference_from_original("Hopper-v5", num_steps=9) or ""
        assert re.match(f"step 1: {words} .*not as gymnasium's Hopper-v5 gives it", found), found


def test_rewards_that_depend_on_earlier_episodes_are_found():
    def once():
        return GymnasiumVecEnv("scripts.robustness.odd_environments:OddNormalized-v0", strict=True)

    faults = examine(once, num_steps=40).faults  # two episodes: the next one has just begun
    assert len(faults) == 1 and "goes on otherwise after it was saved and restored" in faults[0]
