"""Swimmer against gymnasium's, to the bit."""

from tests.envs.compare import compare


def test_it_is_exactly_gymnasiums():
    assert compare("Swimmer-v5", seeds=8, steps=200, tolerance=0.0) == 0


def test_the_time_limit_truncates_as_gymnasiums():
    assert compare("Swimmer-v5", seeds=1, steps=1001, tolerance=0.0) == 4
