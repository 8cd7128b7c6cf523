"""Corrected variances hold their share of the held-out rows, in any unit."""

import pytest
import torch

from mbrl.nn.calibration import LEVELS, calibrate


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spread_out(disagreement: float, rows: int, members: int = 40) -> torch.Tensor:
    """Return means whose variance is the disagreement in every row (M, n, 1)."""
    normal = torch.special.ndtri((torch.arange(members) + 0.5) / members)
    return (normal / normal.std(correction=0) * disagreement**0.5)[:, None, None].expand(
        -1, rows, 1
    )


@pytest.mark.parametrize("factor", [1e-3, 0.2, 1.0, 40.0])
def test_wrong_variances_are_set_right_by_a_factor_for_each_target(factor):
    log_var = 2 * draws(1, 3000, 2, seed=1)
    error = (log_var / 2).exp()[0] * draws(3000, 2) * torch.tensor([1.0, 1e-3])
    fitted = calibrate(error, torch.zeros(1, 3000, 2), log_var + torch.tensor(factor).log())
    assert fitted.slope == 1  # they differ from row to row as they should
    expected = torch.tensor([1.0, 1e-6]).double().log() - torch.tensor(factor).log()
    torch.testing.assert_close(fitted.shift, expected, atol=0.15, rtol=0)


def test_variances_that_say_nothing_about_rows_are_leveled():
    fitted = calibrate(draws(400, 2), torch.zeros(1, 400, 2), 2 * draws(1, 400, 2, seed=1))
    assert fitted.slope == 0
    assert fitted.shift.exp().tolist() == pytest.approx([1.0, 1.0], rel=0.3)


def test_disagreement_is_not_counted_twice():
    error = draws(2000, 1)
    fitted = calibrate(error, spread_out(0.75, 2000), torch.zeros(40, 2000, 1))
    assert fitted.shift.exp().item() == pytest.approx(0.25, abs=0.08)
    too_much = calibrate(error, spread_out(3.0, 2000), torch.zeros(40, 2000, 1))
    assert too_much.shift.exp().item() < 1e-3 and torch.isfinite(too_much.shift).all()


def test_few_members_that_disagree_get_tails():
    """Two means alone hold all rows between them, or few: quantiles need a width."""
    means = torch.tensor([-1.0, 1.0])[:, None, None].expand(-1, 2000, 1)
    fitted = calibrate(draws(2000, 1), means, torch.zeros(2, 2000, 1))
    assert 0.02 < fitted.shift.exp().item() < 0.5


@pytest.mark.parametrize("disagreement", [0.5, 1.0, 1.3])
def test_five_members_that_differ_as_much_as_they_err_hold_both_shares(disagreement):
    """By the mixture's mean and deviation, and by its quantiles: alone its means have no tails."""
    target, means = draws(4000, 1), disagreement * draws(5, 4000, 1, seed=1)
    fitted = calibrate(target, means, torch.zeros(5, 4000, 1))
    std = (fitted.shift / 2).exp()
    apart = (target - means.mean(0)).abs() / (std**2 + means.var(0, correction=0)).sqrt()
    below = torch.special.ndtr((target - means) / std).mean(0)
    for share, deviations in LEVELS:
        for inside in (apart < deviations, (below - 0.5).abs() < share / 2):
            room = 0.07 if share < 0.9 else 0.03
            assert inside.double().mean().item() == pytest.approx(share, abs=room)


def test_errors_with_heavy_tails_leave_both_intervals_near_their_shares():
    heavy = draws(4000, 1) * draws(4000, 1, seed=1).exp()
    std = (calibrate(heavy, torch.zeros(2, 4000, 1), torch.zeros(2, 4000, 1)).shift / 2).exp()
    most, nearly_all = ((heavy.abs() < q * std).double().mean().item() for _, q in LEVELS)
    assert 0.68 < most < 0.78 and 0.86 < nearly_all < 0.95


def test_few_rows_widen_the_intervals():
    """On average over draws of 20 rows the intervals cover fresh rows as they should."""
    inside = []
    for seed in range(200):
        fitted = calibrate(draws(20, 1, seed=seed), torch.zeros(2, 20, 1), torch.zeros(2, 20, 1))
        fresh = draws(500, 1, seed=seed + 1000)
        std = (fitted.shift / 2).exp()
        inside.append([(fresh.abs() < q * std).double().mean() for _, q in LEVELS])
    for covered, (share, _) in zip(torch.tensor(inside).mean(0), LEVELS, strict=True):
        assert covered.item() == pytest.approx(share, abs=0.03)
