"""The polynomial finds the degree of the truth, and extrapolates as it does."""

import torch

from mbrl.dynamics.transition_filter.polynomial_model import PolynomialModel
from tests.dynamics.transition_filter.cases import holdout, parabola


def test_the_polynomial_finds_its_degree_and_the_truth():
    data = parabola()
    model = PolynomialModel(1, 1)
    assert model.fit(data, holdout(data)) == {"model/polynomial_degree": 2.0}
    obs, action = torch.tensor([[5.0], [-2.0]]), torch.tensor([[0.5], [3.0]])
    torch.testing.assert_close(
        model.predict(obs, action), obs + obs**2 / 10 + action / 2, atol=1e-3, rtol=0
    )
