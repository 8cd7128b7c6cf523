"""Behavior cloning."""

import pytest

from mbrl.learners import BC
from tests.learners.bandit import learned


def test_cloning_gives_the_mean_action():
    assert learned(BC) == pytest.approx(-0.1, abs=0.06)
