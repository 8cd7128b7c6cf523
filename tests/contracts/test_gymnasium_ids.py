"""Every `mbrl/...` id keeps the contracts of gymnasium and SB3; the checks are a script's."""

import gymnasium
import pytest

from mbrl.envs.registration import LIMITS
from mbrl.envs.registry import OWN
from scripts.robustness import gym_contracts as script

ORIGINALS = [id for id in LIMITS if id in gymnasium.registry]


def test_every_environment_has_an_id_and_its_own_time_limit():
    assert LIMITS.keys() == OWN.keys()
    for id, make in OWN.items():
        assert make().max_episode_steps == LIMITS[id], id


@pytest.mark.parametrize("check", script.FAST)
@pytest.mark.parametrize("id", LIMITS)
def test_an_id_keeps_the_contract(id, check):
    script.FAST[check](id)


@pytest.mark.parametrize("id", ORIGINALS)
def test_episodes_are_gymnasiums_to_the_last_bit(id):
    script.original(id, steps=100)


def test_pictures_of_what_has_no_body_are_taken():  # those of MuJoCo need a driver, and are slow
    script.pictures("Refrigerator-v0")


@pytest.mark.slow
@pytest.mark.parametrize("check", script.SLOW)
@pytest.mark.parametrize("id", LIMITS)
def test_an_id_keeps_the_long_contract(id, check):
    script.SLOW[check](id)
