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
    """Selection of terms by held-out error, or by a threshold.

    Without a threshold, terms that add least to the fit are removed as long as held-out errors do
    not grow. With one, an ensemble is fitted by sequentially thresholded least squares (Fasel et
    al. 2022).

    Args:
        target: what an equation predicts:
            "auto": rates or changes, by the held-out error; changes where a threshold is given;
            "delta": the change of an observation;
            "rate": its rate per step, which is integrated over the step;
            "next": its next value.
        threshold: smallest magnitude of a coefficient; smaller ones are set to zero. None selects
            terms by held-out error.
        alpha: ridge while terms are selected by a threshold; the coefficients of the selected ones
            are fitted without it.
        normalize: whether thresholds are shares of a target's size and so free of units; otherwise
            they apply to the coefficients in the data's units.
        rows_per_term: terms of the highest degrees are left out until there are so many rows for
            each term.
        bagging: whether each member is fitted to a bootstrap: of the rows where a threshold is
            given, of the residuals otherwise.
        num_dropped_terms: library terms removed at random for each member (library bagging), where
            a threshold is given.
        limits: name of an observation -> [low, high]; transitions outside are left out of the fit
            (contacts, walls).
    """

    target: Literal["auto", "delta", "rate", "next"] = "auto"
    threshold: NonNegative | None = None
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
        threshold: smallest magnitude of a coefficient, as a share of the reward's size. None
            selects terms by held-out error.
    """

    degree: Degree = 2
    threshold: NonNegative | None = None


@final
@checked
@dataclass(frozen=True)
class ValiditySettings:
    """Where predictions are valid, and when the whole model is stable.

    Args:
        margin: predictions are valid within the data's range, extended on each side by this
            multiple of its width; a component that never changed has no range.
        within: name of an observation -> [low, high]; predictions outside are never valid.
        horizon: steps of the rollouts on held-out data.
        max_rollout_error: largest error at the end of these, in standard deviations of the
            observations, for which the model counts as stable.
        must_beat_no_change: whether agents refuse to plan or learn in the model while its error in
            these rollouts is larger than that of predicting no change.
    """

    margin: Positive = 5.0
    within: dict[str, Any] | None = None
    horizon: Count = 25
    max_rollout_error: Positive = 1.0
    must_beat_no_change: bool = True
