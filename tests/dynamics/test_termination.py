"""The classifiers of episodes' ends: what they see, where they disagree, whose rows are whose."""

import pytest
import torch

from mbrl.dynamics.termination import TerminationClassifier
from mbrl.types import Transitions


def reached(next_obs, ended):
    zeros = torch.zeros(len(next_obs))
    return Transitions(
        next_obs, zeros[:, None], zeros, next_obs, ended, torch.zeros_like(ended), zeros.long()
    )


@pytest.fixture(scope="module")
def corridor():
    """Positions and velocities; an episode ends beyond position 1, where few rows are."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.rand(2000, 2, generator=generator) * torch.tensor([2.0, 2.0]) - 1
    beyond = torch.rand(12, 2, generator=generator) * torch.tensor([0.2, 2.0]) + torch.tensor(
        [1, -1]
    )
    obs = torch.cat([obs, beyond])
    found = TerminationClassifier(2, generator=generator, num_members=5)
    metrics = found.fit(reached(obs, obs[:, 0] > 1), generator=generator)
    return found, metrics, obs


def test_rare_ends_are_seen(corridor):
    found, metrics, obs = corridor
    assert metrics["model/missed_ends"] == 0.0 and metrics["model/false_ends"] < 0.05
    assert found(obs[-12:]).all()


def test_each_block_of_rows_is_judged_by_its_member(corridor):
    found, _, _ = corridor
    near = torch.stack([torch.linspace(0.9, 1.1, 401), torch.linspace(-1, 1, 401)], 1)
    alone = torch.stack([found(near, [m]) for m in range(5)])
    assert (alone.any(0) & ~alone.all(0)).any()  # they disagree near the edge
    order = [3, 0, 4]
    assert torch.equal(found(near.repeat(3, 1), order).view(3, -1), alone[order])
    uneven = found(near[:10], order)  # blocks of 4, 4 and 2 rows
    assert torch.equal(uneven, torch.cat([alone[3][:4], alone[0][4:8], alone[4][8:10]]))


def test_members_disagree_where_no_end_was_seen(corridor):
    found, _, _ = corridor
    far = torch.stack([torch.full((201,), 1.02), torch.linspace(-3, 3, 201)], 1)
    known = far[:, 1].abs() < 1
    spread = torch.stack([found(far, [m]) for m in range(5)]).float().var(0)
    assert spread[~known].mean() > spread[known].mean()


def test_the_mean_member_judges_where_none_is_named(corridor):
    found, _, _ = corridor
    near = torch.stack([torch.linspace(0.9, 1.1, 401), torch.zeros(401)], 1)
    logits = found.networks(found.inputs(near))[..., 0]
    assert torch.equal(found(near), logits.mean(0) > 0)
