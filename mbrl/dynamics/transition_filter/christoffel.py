"""Dynamics reward in closed form: closeness to the algebraic set that the data lie on."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from mbrl.dynamics.transition_filter.base import (
    Candidates,
    LearnedDynamicsReward,
    reward_candidates,
    transition_size,
)
from mbrl.dynamics.transition_filter.bayesian_polynomial import BayesianPolynomialReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailCandidates, TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import monomials, num_monomials
from mbrl.errors import BadInput
from mbrl.nn.early_stopping import draw_rows
from mbrl.nn.normalizer import Normalizer, change_spread, divisor
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, Degree, Positive, checked

SPREAD = (-2.0, -1.0, 0.5, 1.0, 2.0, 4.0)  # factors of the holdout members' deviations


@final
class ChristoffelReward(LearnedDynamicsReward):
    """Christoffel function of (obs, action, change): an implicit polynomial.

    With z the standardized transition and phi its monomials the reward is

        -log phi(z)' (M + eps I)^-1 phi(z),  M = mean of phi phi'.

    If the dynamics are F(obs, action, change) = 0 for polynomials F, these span the null space of
    M, and the reward falls steeply off the set where they vanish. It does so far from the data too,
    since a polynomial that vanishes on them vanishes on the whole set. Lasserre and Pauwels 2019
    (the Christoffel function), Luo et al. 2024 (MOREC, what the reward is for).

    Noise in next_obs blurs that set. Powers of the change carry the blur into M, and the set that
    is found is bent. So a BayesianPolynomialReward, which knows what noise leaves uncertain, is an
    option as well.

    Which of the two is used, degree and eps are chosen in the tails of the data: fitted to the
    rest, each option chooses among perturbed predictions of networks that never saw the tail. The
    simplest option is taken that is not worse than the best by more than two standard errors of
    their difference: the tails are near, and what does no harm there can do much further out.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        degrees: to choose from.
        ridges: eps to choose from.
        max_features: degrees with more monomials are left out.
        max_rows: largest number of rows of the data that are used, drawn at random.

    Raises:
        BadInput: if every degree has more than max_features monomials.
    """

    needs_holdout_ensemble = True
    needs_member_means = True
    whiten: Tensor  # (F, F)
    degree: Tensor  # () int64; 0: the regression
    ridge: Tensor  # ()

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        degrees: tuple[Degree, ...] = (1, 2, 3, 4),
        ridges: tuple[Positive, ...] = (1e-9, 1e-7, 1e-5, 1e-3),
        max_features: Count = 600,
        max_rows: Count = 20_000,
    ):
        """Allocate the whitening."""
        super().__init__()
        width = 2 * obs_dim + action.dim
        self._ridges, self._max_rows = ridges, max_rows
        self._degrees = [d for d in degrees if num_monomials(width, d) <= max_features]
        if not self._degrees:
            raise BadInput(
                f"max_features={max_features}: fewer than the {num_monomials(width, 1)} of degree 1"
            )
        self.regression = BayesianPolynomialReward(
            obs_dim=obs_dim, action=action, max_rows=max_rows
        )
        self.scale = Normalizer(width)
        largest = num_monomials(width, max(self._degrees))
        self.register_buffer("whiten", torch.zeros(largest, largest, dtype=torch.float64))
        self.register_buffer("degree", torch.tensor(0))
        self.register_buffer("ridge", torch.tensor(0.0, dtype=torch.float64))

    @property
    def scores_are_rewards(self) -> bool:
        """Return whether scores are the rewards: the regression's are not."""
        return bool(self.degree > 0)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Choose the option in the tails of data (B, ...), and fit it; see DynamicsReward.fit.

        Raises:
            BadInput: without a tail-holdout ensemble.
        """
        if holdout_ensemble is None:
            raise BadInput("holdout_ensemble=None: a ChristoffelReward is fitted with one")
        data = draw_rows(data, self._max_rows, generator=generator)
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x, of=transition_size(data))
        z = self.scale(x).double()
        metrics = self.regression.fit(
            data, model, holdout_ensemble=holdout_ensemble, generator=generator
        )
        phis = [monomials(z, degree) for degree in self._degrees]
        grams = [phi.T @ phi for phi in phis]
        candidates = holdout_ensemble.tail_candidates(data, SPREAD, generator=generator)
        tails = holdout_ensemble.tails(data.obs, data.action)
        errors = [
            self._tail_errors(data, tail, options, phis, grams)
            for options, tail in zip(candidates, tails, strict=True)
            if tail.any()  # an axis of constant components has no ends
        ]
        self.regression.refit(data)
        settings = [(0, 0.0), *((d, ridge) for d in self._degrees for ridge in self._ridges)]
        chosen = _choose(torch.stack(errors), [d for d, _ in settings]) if errors else 0
        degree, ridge = settings[chosen]
        self.degree.fill_(degree)
        self.ridge.fill_(ridge)
        self.whiten.zero_()
        if degree:
            w = _whitening(grams[self._degrees.index(degree)] / len(z), ridge)
            self.whiten[: len(w), : len(w)] = w
        return metrics | {
            "model/dynamics_reward_degree": float(degree),
            "model/dynamics_reward_ridge": ridge,
            **_tail_error([error[chosen] for error in errors]),
        }

    def _tail_errors(
        self,
        data: Transitions,
        tail: Tensor,
        candidates: TailCandidates,
        phis: list[Tensor],
        grams: list[Tensor],
    ) -> Tensor:
        """Compute the errors of what each option chooses in a tail, fitted to the other rows.

        Args:
            data: transitions (B, ...).
            tail: (B,) bool.
            candidates: of the rows in the tail.
            phis: monomials (B, F) of each degree.
            grams: their products (F, F).

        Returns:
            (options,) logarithm of the mean error of the chosen candidates, relative to that of all
            candidates: the regression first, then all ridges of each degree.
        """
        rows, next_obs = candidates
        n, obs, action = len(next_obs), data.obs[rows], data.action[rows]
        self.regression.refit(data.select(~tail))
        alone = Candidates(next_obs, next_obs[:1])  # one member: it counts for nothing
        scores = [self.regression.score(obs, action, alone).double()[None]]
        z = self._standardize(obs.repeat(n, 1), action.repeat(n, 1), next_obs.flatten(0, 1))
        for degree, phi, gram in zip(self._degrees, phis, grams, strict=True):
            inside = (gram - phi[tail].T @ phi[tail]) / int((~tail).sum())
            rewards = _rewards(monomials(z, degree), inside, self._ridges)
            scores.append(rewards.view(-1, n, len(rows)))
        best = torch.cat(scores).argmax(1, keepdim=True)
        unit = divisor(change_spread(data.obs, data.next_obs)).to(next_obs.dtype)
        error = ((next_obs - data.next_obs[rows]) / unit).square().mean(-1).sqrt()  # (K, n)
        chosen = error.expand(len(best), -1, -1).gather(1, best)[:, 0].mean(1)
        return (chosen / error.mean()).log()

    def _standardize(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return (N, n) in float64 of obs (N, obs_dim), action (N, act_dim), next_obs (N, ...)."""
        return self.scale(torch.cat([obs, action, next_obs - obs], 1)).double()

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return rewards (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, obs_dim)."""
        if not self.degree:
            return self.regression.reward(obs, action, next_obs)
        phi = monomials(self._standardize(obs, action, next_obs), int(self.degree))
        w = self.whiten[: phi.shape[1], : phi.shape[1]]
        return -(phi @ w).square().sum(1).log().to(obs.dtype)

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the scores (K, B) of the option that was chosen; see DynamicsReward.score."""
        if self.degree:
            return reward_candidates(self, obs, action, candidates)
        return self.regression.score(obs, action, candidates, generator=generator)


def _tail_error(errors: list[Tensor]) -> dict[str, float]:
    """Return the geometric mean of errors () as a metric; nothing where there is none."""
    if not errors:
        return {}
    return {"model/dynamics_reward_tail_error": torch.stack(errors).mean().exp().item()}


def _choose(errors: Tensor, degrees: list[int]) -> int:
    """Choose the simplest of the best settings, by their errors (tails, settings)."""
    order = errors.mean(0).argsort(stable=True).tolist()
    worse = errors - errors[:, order[:1]]
    level = worse.mean(0) <= 2 * worse.std(0) / math.sqrt(len(errors))
    return next(i for i in sorted(order, key=degrees.__getitem__) if level[i])


def _rewards(phi: Tensor, moments: Tensor, ridges: tuple[float, ...]) -> Tensor:
    """Compute the rewards (R, N) of phi (N, F) with each ridge."""
    values, vectors = torch.linalg.eigh(moments)
    shares = (phi @ vectors).square()
    weights = [1 / (values.clamp(min=0) + ridge) for ridge in ridges]
    return -(shares @ torch.stack(weights, 1)).log().T


def _whitening(moments: Tensor, ridge: float) -> Tensor:
    """Return W (F, F) with W W' = (moments + ridge I)^-1."""
    values, vectors = torch.linalg.eigh(moments)
    return vectors / (values.clamp(min=0) + ridge).sqrt()
