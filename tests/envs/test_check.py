"""The check names every fault with index and step, and passes a sound environment."""

import re

import pytest

from mbrl.envs import GymnasiumProcess
from mbrl.envs.check import check_env
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
