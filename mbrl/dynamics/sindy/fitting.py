"""Fit of the equations of a step: of changes, of rates, or of velocities that move the rest."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.data import motion_problem
from mbrl.dynamics.sindy.fit import Problem, affordable, bags, fit_members, shared_fit
from mbrl.dynamics.sindy.library import Library
from mbrl.dynamics.sindy.predictor import runge_kutta
from mbrl.dynamics.sindy.regression import (
    Rows,
    Settled,
    fit_ensemble,
    fit_supports,
    fit_weights,
    settle,
    undetermined,
)
from mbrl.dynamics.sindy.settings import RegressionSettings
from mbrl.dynamics.sindy.spans import span_lengths
from mbrl.types import Transitions

_ROWS_TO_BAG = 5  # rows per candidate term from which members are fitted to bootstraps
_ROUNDS = 3  # refits of rates along the paths that they predict


class Fitted(NamedTuple):
    """Equations of one stage."""

    weights: Tensor  # (T, F)
    members: Tensor  # (M, T, F)
    left_out: Tensor  # (F,) bool, terms that the data do not determine
    settled: Settled | None  # None where a threshold was given


class Sizes(NamedTuple):
    """Numbers of members of an ensemble."""

    members: int
    elites: int


def fit_first(
    data: Transitions,
    system: System,
    keep: Tensor,
    settings: RegressionSettings,
    sizes: Sizes,
    settled: Settled | None,
    generator: torch.Generator,
) -> Fitted:
    """Fit the changes, rates or next values of the first stage.

    Args:
        data: transitions (B, ...), float64.
        system: shape of the equations.
        keep: rows (B, n) bool that each observation's equation is fitted to.
        settings: how to fit.
        sizes: of the ensemble.
        settled: choices made before; None makes them.
        generator: source of the members.
    """
    rows, degrees = _first_rows(data, system, keep, settings.rows_per_term)
    if settings.threshold is not None:
        return fit_with_threshold(rows, settings.threshold, settings, sizes, generator)
    lengths = [1] * len(rows.allowed)
    if settled is not None:
        lengths = settled.lengths
    elif system.delta:
        lengths = _span_lengths(rows, degrees)
    settled = settled or settle(rows, lengths)
    mask = fit_supports(rows, settled)
    weights = fit_weights(rows, lengths, mask)
    if system.flow:
        rows, settled, weights = _along_paths(rows, system, settled, mask, weights)
    drawn = generator if settings.bagging else None
    ensemble = fit_ensemble(rows, lengths, weights, sizes.elites, drawn)
    return Fitted(*ensemble, undetermined(rows.features), settled)


def fit_densely(data: Transitions, system: System, keep: Tensor) -> System:
    """Fit least squares on all terms that the rows determine well.

    Args:
        data: transitions (B, ...), float64.
        system: shape of the equations; a structured one is not dense.
        keep: rows (B, n) bool that each observation's equation is fitted to.
    """
    rows, degrees = _first_rows(data, system, keep, 2.0)
    lengths = [1] * len(rows.allowed)
    mask = rows.allowed & ~undetermined(rows.features)
    weights = fit_weights(rows, lengths, mask)
    if system.flow:
        path = _path_features(system.library, weights, data)
        if torch.isfinite(path).all():
            weights = fit_weights(rows._replace(features=path), lengths, mask)
    return system._replace(coefficients=weights.cpu().numpy())


def fit_motion(
    data: Transitions,
    system: System,
    settings: RegressionSettings,
    sizes: Sizes,
    settled: Settled | None,
    generator: torch.Generator,
    velocities: dict[int, int],
) -> Fitted:
    """Fit how velocities, old and new, move positions and turn angles.

    Args:
        data: transitions (B, ...), float64.
        system: shape of the equations.
        settings: how to fit.
        sizes: of the ensemble.
        settled: choices made before; None makes them.
        generator: source of the members.
        velocities: position -> its velocity.
    """
    positions = tuple((p, velocities[p]) for p in system.positions)
    free = list(system.targets)
    problem = motion_problem(data, system.motion, positions, system.angles, free)
    level = torch.cat([data.obs, data.next_obs]).square().mean(0).sqrt()
    size = [level[p] for p in system.positions]
    size += [torch.ones_like(level[0]) for _ in system.angles]  # a turn, in radians
    keep = torch.ones_like(problem.targets, dtype=torch.bool)
    rows = Rows(data, *problem, torch.stack(size), keep)
    return fit_any(rows, settings.threshold, settings, sizes, settled, generator)


def fit_any(
    rows: Rows,
    threshold: float | None,
    settings: RegressionSettings,
    sizes: Sizes,
    settled: Settled | None,
    generator: torch.Generator,
) -> Fitted:
    """Fit linear equations, with a threshold or without."""
    if threshold is not None:
        return fit_with_threshold(rows, threshold, settings, sizes, None)
    lengths = [1] * rows.targets.shape[1]
    settled = settled or settle(rows, lengths)
    weights = fit_weights(rows, lengths, fit_supports(rows, settled))
    drawn = generator if settings.bagging else None
    ensemble = fit_ensemble(rows, lengths, weights, sizes.elites, drawn)
    return Fitted(*ensemble, undetermined(rows.features), settled)


def fit_with_threshold(
    rows: Rows,
    threshold: float,
    settings: RegressionSettings,
    sizes: Sizes,
    generator: torch.Generator | None,
) -> Fitted:
    """Fit by sequentially thresholded least squares, each member to its own rows and terms.

    The equations have the terms that most members use, and are fitted to all rows.

    Args:
        rows: what is fitted; rows to keep are those of the first target.
        threshold: smallest magnitude of a coefficient.
        settings: how to fit.
        sizes: of the ensemble.
        generator: source of members' terms; None for all terms.
    """
    kept = rows.keep[:, 0]
    problem = Problem(rows.features[kept], rows.targets[kept], rows.allowed)
    options: dict[str, Any] = {"alpha": settings.alpha, "normalize": settings.normalize}
    weights = None
    enough = len(problem.features) >= _ROWS_TO_BAG * problem.features.shape[1]
    if generator is not None and settings.bagging and enough:
        weights = bags(len(problem.features), sizes.members, generator=generator)
    members, determined = fit_members(
        problem,
        members=sizes.members,
        elites=sizes.elites,
        threshold=threshold,
        weights=weights,
        num_dropped_terms=settings.num_dropped_terms if generator is not None else 0,
        generator=generator,
        **options,
    )
    return Fitted(shared_fit(problem, members), members, ~determined, None)


def _first_rows(
    data: Transitions, system: System, keep: Tensor, rows_per_term: float
) -> tuple[Rows, Tensor]:
    """Return the regression of the first stage, and the degrees of its terms (F,)."""
    targets = list(system.targets)
    features = _features(system, data)
    degrees = torch.tensor([term.degree() for term in system.library], device=features.device)
    allowed = affordable(degrees, data.obs.shape[0] / rows_per_term)
    level = torch.cat([data.obs, data.next_obs]).square().mean(0).sqrt()
    rows = Rows(
        data,
        features,
        (data.next_obs - data.obs if system.delta else data.next_obs)[:, targets],
        allowed.expand(len(targets), -1),
        level[targets],
        keep[:, targets],
    )
    return rows, degrees


def _features(system: System, data: Transitions) -> Tensor:
    """Return the terms' values (B, F) that equations are regressed on.

    Those of rates are means of both ends of the step, the action being held.
    """
    actions = [*data.action.T]
    values = system.library.evaluate([*data.obs.T, *actions])
    if system.flow:
        values = (values + system.library.evaluate([*data.next_obs.T, *actions])) / 2
    return values


def _span_lengths(rows: Rows, degrees: Tensor) -> list[int]:
    """Return the lengths of the spans, by the residual of least squares on all terms."""
    few = affordable(degrees, rows.features.shape[0] / 3) & ~undetermined(rows.features)
    mask = rows.allowed & few
    weights = fit_weights(rows, [1] * len(mask), mask)
    residuals = rows.targets - rows.features @ weights.T
    return span_lengths(rows.data, residuals, rows.targets)


def _along_paths(
    rows: Rows, system: System, settled: Settled, mask: Tensor, weights: Tensor
) -> tuple[Rows, Settled, Tensor]:
    """Fit rates again, to the terms' means along the paths that they predict within a step.

    The means of both ends are not exact. Without noise the difference would ask for terms that the
    rates do not have, so that terms are selected again.
    """
    noisy = max(settled.lengths) > 1
    for turn in range(_ROUNDS):
        path = _path_features(system.library, weights, rows.data)
        if not torch.isfinite(path).all():
            break
        rows = rows._replace(features=path)
        if not noisy and turn < _ROUNDS - 1:
            settled = settle(rows, settled.lengths)
            mask = fit_supports(rows, settled)
        weights = fit_weights(rows, settled.lengths, mask)
    return rows, settled, weights


def _path_features(library: Library, weights: Tensor, data: Transitions) -> Tensor:
    """Return the terms' means (B, F) along a step of the Runge-Kutta rule."""
    actions = [*data.action.T]
    stages: list[Tensor] = []

    def rate(obs: Tensor) -> Tensor:
        stages.append(library.evaluate([*obs.T, *actions]))
        return stages[-1] @ weights.T

    runge_kutta(rate, data.obs)
    a, b, c, d = stages
    return (a + 2 * b + 2 * c + d) / 6
