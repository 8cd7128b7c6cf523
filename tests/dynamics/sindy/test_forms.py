"""Forms of equations are chosen by errors of one step, terms, and errors of several steps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mbrl.dynamics.sindy.forms import Candidate, choose
from mbrl.dynamics.sindy.step import Form

PLAIN, FLOW = Form(), Form(flow=True)


def chosen(terms, errors, drifts):
    """Choose between a plain form and rates, given their terms, errors (B,) and drifts."""
    systems = [
        SimpleNamespace(coefficients=np.ones((1, n)), motion_coefficients=np.zeros((0, 0)))
        for n in terms
    ]
    pairs = zip((PLAIN, FLOW), systems, strict=True)
    fitted = {f: Candidate(f, s, None, None) for f, s in pairs}  # type: ignore[arg-type]

    def look_up(values):
        return lambda system: next(
            torch.as_tensor(v) for s, v in zip(systems, values, strict=True) if s is system
        )

    return choose(
        [PLAIN, FLOW],
        fitted.__getitem__,
        look_up(errors),
        look_up([torch.tensor([d], dtype=torch.float64) for d in drifts]),
        lambda form: fitted[form].system,
    ).form


EQUAL = torch.ones(100), torch.ones(100)


@pytest.mark.parametrize(
    "terms, drifts, form",
    [
        ((9, 5), (1.0, 3.9), FLOW),  # fewer terms
        ((9, 5), (1.0, 4.1), PLAIN),  # twice the error of several steps
        ((9, 5), (1e60, float("nan")), PLAIN),  # diverges
        ((9, 5), (float("nan"), float("inf")), FLOW),  # both do
        ((5, 5), (1.0, 0.9), FLOW),
        ((5, 5), (0.9, 1.0), PLAIN),
    ],
)
def test_of_equal_errors_the_fewest_terms_win_unless_rollouts_differ(terms, drifts, form):
    assert chosen(terms, EQUAL, drifts) == form


def test_a_form_with_larger_errors_of_one_step_is_not_chosen():
    assert chosen((9, 5), (torch.ones(100), 1.2 * torch.ones(100)), (5.0, 1.0)) == PLAIN


def test_a_form_that_diverges_is_passed_over_for_one_with_errors_about_as_small():
    errors = 1.1 * torch.ones(100), torch.ones(100)
    assert chosen((9, 5), errors, (1.0, float("nan"))) == PLAIN
    assert chosen((9, 5), errors, (1.0, 1.0)) == FLOW
