"""CEM: one iteration worked out by hand, and the mean against the best sample."""

import pytest
import torch

from mbrl.errors import BadInput
from mbrl.planners import CEM, ICEM
from mbrl.planners.sampling import Iteration, default_elites
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


@pytest.mark.parametrize("planner", [CEM, ICEM])
def test_more_elites_than_samples_are_refused(planner):
    with pytest.raises(BadInput, match="num_elites=50: should be .*at most num_samples=4"):
        planner(action=ACTION, num_samples=4, num_elites=50)


@pytest.mark.parametrize(("samples", "elites"), [(2, 1), (9, 1), (40, 4), (500, 50), (9000, 50)])
def test_a_tenth_of_the_samples_are_elites_unless_a_number_is_given(samples, elites):
    assert default_elites(samples) == elites
    candidates = torch.linspace(-1, 1, samples).view(1, samples, 1, 1)
    returns = candidates.flatten()[None]
    planner = CEM(action=ACTION, horizon=1, num_samples=samples, shrink=1.0)
    update = planner.update(planner.start(1), Iteration(0, 5, False), candidates, returns)
    best = torch.linspace(-1, 1, samples)[-elites:].mean().item()
    assert update.proposal.mean().item() == pytest.approx(best, abs=1e-5)
