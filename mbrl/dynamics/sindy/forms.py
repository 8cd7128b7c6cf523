"""Choice of the form of the equations by held-out errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.fitting import (
    Fitted,
    Sizes,
    fit_densely,
    fit_first,
    fit_motion,
)
from mbrl.dynamics.sindy.settings import RegressionSettings
from mbrl.dynamics.sindy.step import Form, SparseStep, step_of
from mbrl.dynamics.sindy.structure import find_bounds
from mbrl.types import Transitions

_SAME, _WITHIN_NOISE = 1.02, 1.08  # ratios of errors: equal; equal if noise explains the rest
_HOPELESS = 1.1  # ratio of errors of dense equations from which sparse rates are not tried
_DRIFTS = 2.0  # ratio of errors of several steps from which they differ
_BLOCK = 25  # rows whose mean counts as one sample of an error
_LEAST_GAIN = 0.98  # ratio of errors by which a bound has to help


class Candidate(NamedTuple):
    """Fitted equations of one form."""

    form: Form
    system: System
    first: Fitted
    motion: Fitted | None

    def num_terms(self) -> int:
        """Return the number of coefficients that are not zero."""
        both = self.system.coefficients, self.system.motion_coefficients
        return sum(int((x != 0).sum()) for x in both)


def possible_forms(
    settings: RegressionSettings, structured: bool | None, has_structure: bool
) -> list[Form]:
    """Return the forms to try, those that cost least time first.

    Args:
        settings: a given threshold leaves no choice.
        structured: what the user has chosen; None for either.
        has_structure: whether there are positions or angles.
    """
    if structured:
        return [Form(structured=True)]
    if settings.target == "rate":
        return [Form(flow=True)]
    if settings.threshold is not None or settings.target == "next":
        return [Form()]
    forms = [Form()]
    if structured is None and has_structure:
        forms.append(Form(structured=True))
    if settings.target == "auto":
        forms.append(Form(flow=True))
    return forms


def fit_form(
    data: Transitions,
    keep: Tensor,
    steps: SparseStep,
    form: Form,
    settings: RegressionSettings,
    sizes: Sizes,
    before: Candidate | None,
    generator: torch.Generator,
) -> Candidate:
    """Fit the equations of a form.

    Args:
        data: transitions (B, ...), float64.
        keep: rows (B, n) bool that each observation's equation is fitted to.
        steps: knows the shape of the equations.
        form: of the equations.
        settings: how to fit.
        sizes: of the ensemble.
        before: a fit to fewer rows, whose choices are kept; None chooses.
        generator: source of the members.
    """
    system = steps.lay_out(form)
    settled = None if before is None else before.first.settled
    first = fit_first(data, system, keep, settings, sizes, settled, generator)
    system = system._replace(coefficients=first.weights.cpu().numpy())
    motion = None
    if system.motion:
        settled = None if before is None or before.motion is None else before.motion.settled
        velocities = dict(steps.positions)
        motion = fit_motion(data, system, settings, sizes, settled, generator, velocities)
        system = system._replace(motion_coefficients=motion.weights.cpu().numpy())
    return Candidate(form, system, first, motion)


def choose(
    forms: list[Form],
    fit: Callable[[Form], Candidate],
    error: Callable[[System], Tensor],
    drift: Callable[[System], Tensor],
    dense: Callable[[Form], System],
) -> Candidate:
    """Return the candidate with the fewest terms among those whose errors do not differ.

    One whose error of several steps is not finite, or twice that of another, is passed over where
    the other's error of one step is about as small. Among equal numbers of terms the errors of
    several steps decide.

    Args:
        forms: to try, at least one.
        fit: fits one to the training rows.
        error: squared errors (B,) of equations on the rows held out.
        drift: squared errors (K,) of equations along blocks of rows held out.
        dense: fits a form by least squares on all terms; rates are only tried where these are not
            clearly worse as rates.
    """
    candidates = [fit(form) for form in forms if not form.flow or len(forms) == 1]
    if len(forms) > len(candidates):
        plain, flow = (error(dense(form)).mean() for form in (Form(), Form(flow=True)))
        if flow <= _HOPELESS**2 * plain:
            candidates.append(fit(Form(flow=True)))
    if len(candidates) == 1:
        return candidates[0]
    errors = torch.stack([error(c.system) for c in candidates])
    errors = torch.where(torch.isfinite(errors), errors, torch.inf)
    drifts = torch.stack([drift(c.system).mean() for c in candidates]).nan_to_num(torch.inf)
    means = errors.mean(1)
    near = means <= _WITHIN_NOISE**2 * means.min()
    near &= drifts <= _DRIFTS**2 * drifts[near].min()
    good = [int(i) for i in near.nonzero() if _no_worse(errors[i[0]], errors[near])]
    fewest = min(candidates[i].num_terms() for i in good)
    good = [i for i in good if candidates[i].num_terms() == fewest]
    return candidates[min(good, key=lambda i: float(drifts[i]))]


def _no_worse(own: Tensor, errors: Tensor) -> bool:
    """Return whether squared errors (B,) are the least of all (C, B), up to noise."""
    best = errors[int(errors.mean(1).argmin())]
    gap = torch.stack([x.mean() for x in (own - best).split(_BLOCK)])
    noise = gap.std(correction=0) / len(gap) ** 0.5
    excess = own.mean() - best.mean()
    return bool(own.mean() <= _SAME**2 * best.mean() or excess <= noise)


def helpful_bounds(
    data: Transitions, train: Tensor, held: Tensor, system: System
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the bounds of clipped components for which held-out errors are smaller.

    Args:
        data: transitions (B, ...), float64.
        train: rows (B,) bool to fit to.
        held: rows (B,) bool that decide.
        system: shape of equations of all observations.

    Returns:
        Bounds low (n,), high (n,), infinite where there is none; rows (B, n) bool to which each
        observation's equation is fitted, those that were not clipped.
    """
    low, high = find_bounds(data)
    keep = (data.next_obs > low) & (data.next_obs < high)
    if keep.all():
        return low, high, keep
    fitted, rest = data.select(train), data.select(held)
    errors = []
    for kept in (torch.ones_like(keep), keep):
        dense = fit_densely(fitted, system, kept[train])
        gap = step_of(dense, rest.obs, rest.action)
        if kept is keep:
            gap = gap.clamp(low, high)
        errors.append((gap - rest.next_obs).square().mean(0))
    useless = ~(errors[1] <= _LEAST_GAIN**2 * errors[0])
    low, high = low.masked_fill(useless, -torch.inf), high.masked_fill(useless, torch.inf)
    return low, high, keep | useless
