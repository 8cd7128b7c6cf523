"""The classifiers of episodes' ends: what they see, where they disagree, whose rows are whose."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from mbrl.dynamics.termination import TerminationClassifier
from mbrl.errors import NumericalFault
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


def test_a_fit_is_that_of_autograd_and_torch_s_adam():
    """On the same draws: 20 steps on the sum of the members' cross entropies."""
    obs = torch.randn(300, 2, generator=torch.Generator().manual_seed(1))
    ended = obs[:, 0] > 1.2
    ours, reference = (
        TerminationClassifier(
            2, generator=torch.Generator().manual_seed(2), num_members=3, num_updates=20
        )
        for _ in range(2)
    )
    ours.fit(reached(obs, ended), generator=torch.Generator().manual_seed(3))

    draws, networks = torch.Generator().manual_seed(3), reference.networks
    reference.inputs.fit(obs)
    x, half = reference.inputs(obs), 16
    bootstraps = []
    for flags in (ended, ~ended):
        rows = flags.nonzero()[:, 0]
        bootstraps.append(rows[torch.randint(len(rows), (3, len(rows)), generator=draws)])
    target = torch.cat([torch.ones(half), torch.zeros(half)]).expand(3, -1)
    adam = torch.optim.Adam(networks.parameters(), lr=3e-3)
    for update in range(20):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - update / 20)
        drawn = [torch.randint(own.shape[1], (3, half), generator=draws) for own in bootstraps]
        rows = [own.gather(1, places) for own, places in zip(bootstraps, drawn, strict=True)]
        logits = networks(x[torch.cat(rows, 1)])[..., 0]
        loss = binary_cross_entropy_with_logits(logits, target, reduction="sum")
        adam.zero_grad()
        loss.backward()
        adam.step()
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_loss_that_is_not_finite_is_named():
    obs = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    found = TerminationClassifier(2, generator=torch.Generator().manual_seed(2), num_updates=3)
    with torch.no_grad():
        found.networks.biases[0].fill_(torch.nan)
    with pytest.raises(NumericalFault, match="termination loss is nan after 3 updates"):
        found.fit(reached(obs, obs[:, 0] > 0), generator=torch.Generator().manual_seed(3))


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


def test_where_one_class_was_seen_no_network_is_evaluated_also_after_a_load():
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(60, 2, generator=generator)
    found, other = (TerminationClassifier(2, generator=generator, num_members=2) for _ in range(2))
    assert not found(obs).any()
    found.fit(reached(obs, obs[:, 0] > 0), generator=generator)
    some = found(obs)
    assert some.any() and not some.all()
    for ended in (True, False):
        other.load_state_dict(found.state_dict())
        assert other(obs).equal(found(obs))
        found.fit(reached(obs, torch.full((60,), ended)), generator=generator)
        found.networks.biases[0].data.fill_(torch.nan)
        assert found(obs).tolist() == found(obs, [1]).tolist() == [ended] * 60
    other.load_state_dict(found.state_dict())
    assert other(obs).tolist() == [False] * 60


def test_the_mean_member_judges_where_none_is_named(corridor):
    found, _, _ = corridor
    near = torch.stack([torch.linspace(0.9, 1.1, 401), torch.zeros(401)], 1)
    logits = found.networks(found.inputs(near))[..., 0]
    assert torch.equal(found(near), logits.mean(0) > 0)
