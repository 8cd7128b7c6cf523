"""Settings of SINDy, one class for each idea: candidate terms, regression, reward, validity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from annotated_types import Interval

from mbrl.values import Count, CountOrZero, Degree, NonNegative, Positive, checked


@final
@checked
@dataclass(frozen=True)
class LibrarySettings:
    """Candidate terms of the equations: monomials, and sines and cosines.

    Args:
        degree: largest degree of the monomials.
        interaction: whether monomials multiply different variables.
        frequencies: number n of sines and cosines of 1, 2, ... n times each observation.
        products: whether the monomials are also multiplied by these sines and cosines.
        affine: whether actions only enter linearly, times any term of the observations; otherwise
            they are variables of the monomials like the observations.
    """

    degree: Degree = 2
    interaction: bool = True
    frequencies: Annotated[int, Interval(ge=0, le=100)] = 0
    products: bool = False
    affine: bool = True


@final
@checked
@dataclass(frozen=True)
class RegressionSettings:
    """Sequentially thresholded least squares for an ensemble (Fasel et al. 2022).

    Args:
        target: what an equation predicts:
            "delta": the change of an observation;
            "next": its next value.
        threshold: smallest magnitude of a coefficient; smaller ones are set to zero.
        alpha: ridge while terms are selected; the coefficients of the selected ones are fitted
            without it.
        normalize: whether thresholds are shares of a target's size and so free of units; otherwise
            they apply to the coefficients in the data's units.
        rows_per_term: terms of the highest degrees are left out until there are so many rows for
            each term.
        bagging: whether each member is fitted to a bootstrap of the rows.
        num_dropped_terms: library terms removed at random for each member (library bagging).
        limits: name of an observation -> [low, high]; transitions outside are left out of the fit
            (contacts, walls).
    """

    target: Literal["delta", "next"] = "delta"
    threshold: NonNegative = 0.01
    alpha: NonNegative = 1e-5
    normalize: bool = True
    rows_per_term: Positive = 1.0
    bagging: bool = True
    num_dropped_terms: CountOrZero = 1
    limits: dict[str, Any] | None = None


@final
@checked
@dataclass(frozen=True)
class RewardSettings:
    """Sparse polynomial of observations and actions for a learned reward.

    Args:
        degree: largest degree of its monomials.
        threshold: smallest magnitude of a coefficient, as a share of the reward's size.
    """

    degree: Degree = 2
    threshold: NonNegative = 0.02


@final
@checked
@dataclass(frozen=True)
class ValiditySettings:
    """Where predictions are valid, and when the whole model is stable.

    Args:
        margin: predictions are valid within the data's range, extended on each side by this
            multiple of its width.
        within: name of an observation -> [low, high]; predictions outside are never valid.
        horizon: steps of the rollouts on held-out data.
        max_rollout_error: largest error at the end of these, in standard deviations of the
            observations, for which the model counts as stable.
    """

    margin: Positive = 5.0
    within: dict[str, Any] | None = None
    horizon: Count = 25
    max_rollout_error: Positive = 1.0
