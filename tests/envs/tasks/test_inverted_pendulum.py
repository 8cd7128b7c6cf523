"""InvertedPendulum and InvertedDoublePendulum against gymnasium's, to the bit."""

import pytest

from tests.envs.compare import compare


@pytest.mark.parametrize("id", ["InvertedPendulum-v5", "InvertedDoublePendulum-v5"])
def test_it_is_exactly_gymnasiums(id):
    assert compare(id, seeds=8, steps=200, tolerance=0.0) > 0
