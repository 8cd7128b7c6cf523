"""CEM: one iteration worked out by hand, and the mean against the best sample."""

import pytest
import torch

from mbrl.planners import CEM
from mbrl.planners.sampling import Iteration
from tests.toys import ACTION


def make(**options):
    settings = {"action": ACTION, "horizon": 1, "num_samples": 4, "num_elites": 2, "shrink": 1.0}
    return CEM(**(settings | options))


def test_the_distribution_is_fitted_to_the_elites():
    """Elites -0.2 and 0.6: mean 0.2, standard deviation 0.4, half of it kept by the momentum."""
    candidates = torch.tensor([-1.0, -0.2, 0.6, 0.9]).view(1, 4, 1, 1)
    returns = torch.tensor([[-9.0, 2, 1, 0]])
    planner = make()
    update = planner.update(planner.start(1), Iteration(0, 5, False), candidates, returns)
    assert update.proposal.mean().item() == pytest.approx(0.2)
    assert update.proposal.std.item() == pytest.approx(0.4)
    assert update.actions.item() == pytest.approx(-0.2) and update.value.item() == 2
    assert update.alternative.item() == pytest.approx(0.2)
    planner = make(momentum=0.5)
    update = planner.update(planner.start(1), Iteration(0, 5, False), candidates, returns)
    assert update.proposal.mean().item() == pytest.approx(0.1)
    assert update.proposal.std.item() == pytest.approx((0.4 + 0.5) / 2)


def test_more_elites_than_samples_are_all_of_them():
    candidates = torch.tensor([-1.0, -0.5, 0.5, 0.8]).view(1, 4, 1, 1)
    planner = make(num_elites=50)
    returns = torch.tensor([[1.0, 2, 3, 4]])
    update = planner.update(planner.start(1), Iteration(0, 5, False), candidates, returns)
    assert update.proposal.mean().item() == pytest.approx(-0.05)
