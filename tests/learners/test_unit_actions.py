"""Actions of a policy: [-1, 1] in the components that can move, nothing in the others."""

import pytest
import torch

from mbrl.errors import BadInput
from mbrl.learners import SAC
from mbrl.learners.unit_actions import UnitActions
from mbrl.types import ActionSpec
from tests.toys import generator


def test_components_that_cannot_move_are_left_out_and_put_back():
    units = UnitActions(ActionSpec.box([-2.0, 0.5, 0.0], [4.0, 0.5, 1e-4]), "cpu")
    assert units.dim == 2
    action = torch.tensor([[4.0, 0.5, 0.0], [1.0, 0.5, 5e-5]])
    scaled = units.from_env(action)
    torch.testing.assert_close(scaled, torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    torch.testing.assert_close(units.to_env(scaled), action)
    assert units.to_env(torch.full((2, 3, 2), 9.0)).flatten(0, 1)[0].tolist() == pytest.approx(
        [4.0, 0.5, 1e-4]
    )
    assert units.spec().high.tolist() == pytest.approx([4.0, 1e-4])


def test_bounds_without_any_room_are_refused():
    with pytest.raises(BadInput, match=r"^action: low=\[1.0, 2.0\] is high in every component"):
        UnitActions(ActionSpec.box([1.0, 2.0], [1.0, 2.0]), "cpu")


def test_sac_with_a_component_that_cannot_move_is_sac_without_it():
    """The same networks, the same temperature: the component has no entropy."""
    free, held = ActionSpec.box([-1.0], [1.0]), ActionSpec.box([-1.0, 3.0], [1.0, 3.0])
    one, two = (
        SAC(obs_dim=2, action=action, generator=generator(), hidden=8) for action in (free, held)
    )
    for a, b in zip(one.networks[2:], two.networks[2:], strict=True):
        assert a.equal(b)
    obs = torch.randn(5, 2, generator=generator(1))
    for deterministic in (True, False):
        options = {"deterministic": deterministic}
        first = one.select(obs, generator=generator(2), **options)
        second = two.select(obs, generator=generator(2), **options)
        assert second[:, :1].equal(first) and second[:, 1].tolist() == [3.0] * 5
