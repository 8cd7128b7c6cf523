"""Tail-holdout ensemble: which rows are tails, and that members do not see their own."""

import pytest
import torch

from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.errors import BadInput
from tests.dynamics.transition_filter.cases import holdout, parabola
from tests.toys import ToyEnv, collect, generator


def test_tails_hold_their_fraction_of_every_axis():
    data = collect(ToyEnv(4), 200).all()
    tails = holdout(data).tails(data.obs, data.action)
    assert tails.shape == (6, 800)
    torch.testing.assert_close(tails.float().mean(1), torch.full((6,), 0.2), atol=0.01, rtol=0)
    assert not (tails[:3] & tails[3:]).any(), "a row lies on both ends of an axis"


def test_members_never_saw_their_own_tail():
    """Change the truth on one tail alone: its own networks do not notice, the others do."""
    data = parabola()
    members = holdout(data)
    before = [p.clone() for p in members.networks.parameters()]
    tail = members.tails(data.obs, data.action)[0]
    changed = data._replace(next_obs=torch.where(tail[:, None], data.next_obs + 3.0, data.next_obs))
    again = TailHoldoutEnsemble(1, 1, generator=generator(3), hidden=16, num_updates=200)
    again.targets.fit = lambda x, of: again.targets.load_state_dict(members.targets.state_dict())
    again.fit(changed, generator=generator(4))
    same = [
        all(b[m].equal(p[m]) for b, p in zip(before, again.networks.parameters(), strict=True))
        for m in range(8)
    ]
    assert same[:2] == [True, True] and not any(same[4:6])


def test_the_first_axis_is_the_longest_and_its_tails_are_its_ends():
    data = parabola()
    data = data._replace(obs=data.obs - 0.5, action=0.1 * (data.obs - 0.5) + data.action / 1e6)
    members = TailHoldoutEnsemble(1, 1, generator=generator(3), max_axes=1, num_updates=1)
    members.fit(data, generator=generator(4))
    low, high = members.tails(data.obs, data.action)
    assert low.sum() == high.sum() == 160
    ends = data.obs[:, 0].sort().values
    assert data.obs[low].max() <= ends[161] and data.obs[high].min() >= ends[-162]


def test_candidates_of_a_tail_spread_from_its_members_mean_and_around_the_truth():
    data = parabola()
    members = holdout(data)
    candidates = members.tail_candidates(data, (0.0, 1.0), generator=generator(5))
    tails = members.tails(data.obs, data.action)
    assert len(candidates) == len(tails) == 4
    for number, (rows, next_obs) in enumerate(candidates):
        assert rows.equal(torch.nonzero(tails[number])[:, 0])
        own = members.predict(data.obs[rows], data.action[rows])[2 * number : 2 * number + 2]
        assert len(next_obs) == 1 + 2 * 2 + 4 + 6
        torch.testing.assert_close(next_obs[0], own.mean(0))
        torch.testing.assert_close(next_obs[1:3], own.mean(0).expand(2, -1, -1))  # factor 0
        torch.testing.assert_close(next_obs[3:5], own)  # factor 1
        near = (next_obs[-6:] - data.next_obs[rows]).square().mean((1, 2)).sqrt()
        sizes = torch.tensor([0.001, 0.003, 0.01, 0.03, 0.1, 0.3]) * members.targets.std
        torch.testing.assert_close(near, sizes, rtol=0.3, atol=0)


@pytest.mark.parametrize("option", [{"tail_fraction": 0.6}, {"hidden": 0}, {"max_axes": 0}])
def test_wrong_settings_are_refused_by_name(option):
    with pytest.raises(BadInput, match=f"^{next(iter(option))}="):
        TailHoldoutEnsemble(1, 1, generator=generator(), **option)
