"""Batches of SAC's updates are drawn by each seed from its own buffers, into reused memory."""

import pytest
import torch

from mbrl.learners.sac_batches import CHUNK, Batches
from mbrl.learners.unit_actions import UnitActions
from tests.learners.sac_problems import SQUARE, experience, seeded


def drawer(seeds: list[int]) -> Batches:
    return Batches(
        UnitActions(SQUARE, "cpu"),
        [seeded(seed) for seed in seeds],
        obs_dim=3,
        batch_size=32,
        real_ratio=0.25,
        discount=0.99,
    )


@pytest.mark.parametrize("imagined", [False, True])
def test_a_seed_draws_beside_others_what_it_draws_alone(imagined):
    pair = (experience(50), experience(70) if imagined else None)
    together = drawer([3, 4])
    for seed in (0, 1):
        alone = drawer([3 + seed]).draw((pair,), 5)
        for one, both in zip(alone, drawer([3, 4]).draw((pair, pair), 5), strict=True):
            for name in ("obs", "next_obs", "reward", "discount", "noise", "noise_log_prob"):
                assert getattr(one, name)[0].equal(getattr(both, name)[seed]), name
            assert one.of_critics.equal(both.of_critics[2 * seed : 2 * seed + 2])
    first = together.draw((pair, pair), CHUNK)
    assert together.draw((pair, pair), 2)[0] is first[0]  # no new memory


def test_both_critics_read_the_actions_that_are_written_once():
    pair = (experience(50), None)
    for seeds in ([1], [1, 2]):
        batch = drawer(seeds).draw((pair,) * len(seeds), 1)[0]
        action = torch.randn(len(seeds), 2, 64, generator=seeded(8))
        batch.action.copy_(action[:, None])
        of_critics = torch.cat([batch.pair_of_critics, batch.next_pair_of_critics], 1)
        rows = torch.cat([batch.both_obs, action.mT], 2)
        assert of_critics.equal(rows.repeat_interleave(2, 0))
