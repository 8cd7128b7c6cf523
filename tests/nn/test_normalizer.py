"""Scaling goes both ways, in any units, and is safe for what does not vary."""

import pytest
import torch

from mbrl.nn.normalizer import Normalizer, change_spread, divisor, spread


def draw(rows: int = 5000, dim: int = 3) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))


def test_scales_to_zero_mean_and_unit_variance_and_back():
    x = draw() * 7 + 100
    normalizer = Normalizer(3)
    normalizer.fit(x)
    z = normalizer(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalizer.invert(z), x)


@pytest.mark.parametrize("scale", [2.0**-40, 1e-9, 1e-4, 1e4, 2.0**40])
def test_normalized_data_are_the_same_in_every_unit(scale):
    x, normalizer = draw() + 0.5, Normalizer(3)
    normalizer.fit(x)
    expected = normalizer(x)
    normalizer.fit(scale * x)
    exact = torch.tensor(scale).log2().frac() == 0
    tolerance = 0.0 if exact else 1e-5
    torch.testing.assert_close(normalizer(scale * x), expected, atol=tolerance, rtol=tolerance)


def test_a_constant_component_is_ignored_and_predicted_by_its_value():
    normalizer = Normalizer(2)
    rounded = torch.full((100, 1), 1e6)
    rounded[::2] += 0.0625  # the next number of float32
    normalizer.fit(torch.cat([torch.full((100, 1), 0.1), rounded], 1))
    assert normalizer.std.tolist() == [0, 0]
    assert normalizer(torch.tensor([[7.0, -3.0]])).tolist() == [[0, 0]]
    z = torch.tensor([[5.0, 5.0]])
    torch.testing.assert_close(normalizer.invert(z), torch.tensor([[0.1, 1e6]]))


def test_changes_that_only_rounding_makes_are_constant():
    obs = 1000 + draw(500, 2)
    change = torch.cat([torch.zeros(500, 1), 0.01 * draw(500, 1)], 1)
    unit = change_spread(obs, obs + change)
    assert unit[0] == 0 and unit[1] == pytest.approx(0.01, rel=0.1)
    wide = 1000 * draw(500, 2)  # rounded to other steps from row to row
    assert spread((wide + 0.1) - wide).min() > 0
    assert change_spread(wide, wide + 0.1).tolist() == [0, 0]
    assert divisor(unit)[0] == torch.inf


def test_loaded_deviations_are_those_divided_by():
    one, other = Normalizer(2), Normalizer(2)
    one.fit(torch.tensor([[0.0, 5.0], [4.0, 5.0]]))
    other.load_state_dict(one.state_dict())
    assert set(one.state_dict()) == {"mean", "std"}
    assert other(torch.tensor([[4.0, 9.0]])).tolist() == [[1, 0]]
