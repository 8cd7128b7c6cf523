"""Proposal distributions: sampling, fitting, shifting, against values computed by hand."""

import pytest
import torch

from mbrl.planners.distributions import Categorical, Gaussian, initial_distribution
from mbrl.types import ActionSpec
from tests.toys import generator

BOX = ActionSpec("continuous", torch.tensor([-0.3, 0.1]), torch.tensor([0.2, 0.15]))
CHOICE = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)


def test_the_initial_gaussian_is_centered_and_in_units_of_half_the_range():
    initial = initial_distribution(BOX, 3, 4, std=0.5)
    assert isinstance(initial, Gaussian)
    torch.testing.assert_close(initial.mean(), torch.tensor([-0.05, 0.125]).expand(3, 4, 2))
    torch.testing.assert_close(initial.std, torch.tensor([0.125, 0.0125]).expand(3, 4, 2))


def test_samples_are_inside_the_bounds_and_have_the_mean_and_std():
    initial = initial_distribution(BOX, 2, 3, std=0.2)
    samples = initial.sample(5000, generator=generator(1))
    assert samples.shape == (2, 5000, 3, 2)
    torch.testing.assert_close(samples.mean(1), initial.mean(), atol=0.01, rtol=0)
    std = torch.tensor([0.05, 0.005]).expand(2, 3, 2)
    torch.testing.assert_close(samples.std(1), std, rtol=0.05, atol=0)
    wide = initial_distribution(BOX, 2, 3, std=5.0).sample(100, generator=generator(1))
    assert (wide >= BOX.low).all() and (wide <= BOX.high).all()
    assert (wide == BOX.low).any() and (wide == BOX.high).any()


def test_a_gaussian_fits_to_weighted_samples():
    """Samples 0 and 1 of weights 1/4 and 3/4: mean 3/4, std sqrt(3)/4."""
    wide = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([3.0]))  # half range 2
    initial = initial_distribution(wide, 1, 1, std=0.5, shrink=0.5)  # center 1, std 1
    samples, weights = torch.tensor([[[[0.0]], [[1.0]]]]), torch.tensor([[0.25, 0.75]])
    fitted = initial.fit(samples, weights, 0.0)
    assert fitted.mean().item() == pytest.approx(0.75)
    assert fitted.std.item() == pytest.approx(0.5 * 3**0.5 / 4)
    mixed = initial.fit(samples, weights, 0.2)
    assert mixed.mean().item() == pytest.approx(0.8 * 0.75 + 0.2 * 1)
    assert mixed.std.item() == pytest.approx(0.5 * (0.8 * 3**0.5 / 4 + 0.2 * 1))


def test_the_std_has_a_floor_and_may_be_constant():
    samples, weights = torch.zeros(1, 2, 4, 2), torch.full((1, 2), 0.5)
    floored = initial_distribution(BOX, 1, 4, std=0.5, min_std=0.1).fit(samples, weights, 0.0)
    torch.testing.assert_close(floored.std, torch.tensor([0.025, 0.0025]).expand(1, 4, 2))
    initial = initial_distribution(BOX, 1, 4, std=0.5, adapt_std=False)
    assert initial.fit(samples, weights, 0.0).std.equal(initial.std)


def test_a_shifted_gaussian_is_one_decision_later_and_wide_enough_to_explore():
    initial = initial_distribution(BOX, 1, 3, std=0.5)
    samples = torch.tensor([[-0.3, 0.1], [0.0, 0.12], [0.2, 0.15]]).expand(1, 1, 3, 2)
    fitted = initial.fit(samples, torch.ones(1, 1), 0.0)
    assert fitted.std.count_nonzero() == 0
    shifted = fitted.shift(generator=generator(0))
    expected = torch.cat([samples[0, :, 1:], samples[0, :, -1:]], 1)  # the last action is held
    torch.testing.assert_close(shifted.mean(), expected)
    share = torch.tensor([0.3, 0.3, 1.0])[:, None]  # of the initial std; the new decision has all
    torch.testing.assert_close(shifted.std[0], share * initial.std[0])
    for part, kept in ((0.25, 0.5), (0.1, 0.3), (0.8, 1.0)):  # twice the fitted std, in limits
        wide = fitted._replace(std=part * initial.std).shift(generator=generator(0))
        torch.testing.assert_close(wide.std[0, 0], kept * initial.std[0, 0])


def test_a_categorical_fits_to_frequencies_and_forgets_half_in_a_shift():
    initial = initial_distribution(CHOICE, 1, 2, std=0.5)
    assert isinstance(initial, Categorical)
    eye = torch.eye(3)
    samples = torch.stack([eye[[0, 1]], eye[[0, 2]]])[None]  # (1, 2, 2, 3)
    fitted = initial.fit(samples, torch.tensor([[0.25, 0.75]]), 0.0)
    expected = torch.tensor([[1.0, 0.01, 0.01], [0.01, 0.25, 0.75]])  # none below 0.01
    torch.testing.assert_close(fitted.probability[0], expected / expected.sum(1, keepdim=True))
    assert fitted.mean()[0].equal(eye[[0, 2]])
    shifted = fitted.shift(generator=generator(0)).probability[0]
    torch.testing.assert_close(shifted[0], 0.5 * fitted.probability[0, 1] + 0.5 / 3)
    torch.testing.assert_close(shifted[1], torch.full((3,), 1 / 3))


def test_a_categorical_samples_one_hot_by_its_probabilities():
    probability = torch.tensor([[[0.2, 0.5, 0.3]]])
    samples = Categorical(probability).sample(20_000, generator=generator(1))
    assert samples.sum(-1).eq(1).all() and samples.shape == (1, 20_000, 1, 3)
    torch.testing.assert_close(samples.mean(1), probability[:, 0][:, None], atol=0.015, rtol=0)


def test_an_average_of_samples_at_a_bound_is_not_a_rounding_error_beyond_it():
    initial = initial_distribution(BOX, 500, 4, std=0.5)
    weights = torch.rand(500, 11, generator=generator(1)).softmax(1)
    for bound in (BOX.low, BOX.high):
        after = initial.fit(bound.expand(500, 11, 4, 2), weights, 0.0)
        is_inside = (after.center >= BOX.low) & (after.center <= BOX.high)
        assert not is_inside.all()  # the error is there
        assert ((after.mean() >= BOX.low) & (after.mean() <= BOX.high)).all()


@pytest.mark.parametrize("power", [-100, -3, 1, 100])
def test_a_gaussian_fits_the_same_bits_in_units_of_any_power_of_two(power):
    unit, draws = 2.0**power, generator(1)
    one = ActionSpec.box([-0.3, 0.1], [0.2, 0.15])
    other = ActionSpec.box(one.low * unit, one.high * unit)
    samples, weights = torch.randn(2, 9, 4, 2, generator=draws), torch.rand(2, 9, generator=draws)
    weights /= weights.sum(1, keepdim=True)
    fitted = [
        initial_distribution(box, 2, 4, std=0.5).fit(samples * size, weights, 0.1)
        for box, size in ((one, 1.0), (other, unit))
    ]
    assert (fitted[0].std * unit).equal(fitted[1].std) and fitted[1].std.isfinite().all()
    assert (fitted[0].mean() * unit).equal(fitted[1].mean())
