"""Dynamics reward from Bayesian polynomial regression, and from the ensemble where it is unsure."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.base import Candidates, LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import (
    highest_degree,
    monomials,
    num_monomials,
)
from mbrl.nn.early_stopping import draw_rows
from mbrl.nn.normalizer import Normalizer, size
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, Degree, checked

NEGLIGIBLE_STD = 1e-3  # of a target, relative: smaller errors all weigh alike
MIN_NOISE = 1e-7  # standard deviation relative to a target's: what rounding leaves


@final
class BayesianPolynomial(nn.Module):
    """Bayesian linear regression on monomials; the prior maximizes the evidence, MacKay 1992.

    The coefficient of z1^a1 ... zn^an has the prior N(0, A^2 l1^2a1 ... ln^2an / (a1! ... an!)), as
    in the Taylor series of a draw from the kernel A^2 exp(sum li^2 zi zi'). So an input that
    matters little by itself also matters less in powers and products. A, l and the noise maximize
    the evidence. No term is dropped: one that the data neither show nor exclude is negligible among
    them, but decides far outside; there it widens the prediction.

    Args:
        inputs: number n of the inputs.
        targets: number t of the targets, each with a prior of its own.
        degree: of the monomials.
    """

    powers: Tensor  # (F, n) of the inputs in each monomial
    hyper: Tensor  # (t, n + 2) logarithms of A, l, noise
    weights: Tensor  # (F, t)
    root: Tensor  # (t, F, F) R with R R' the weights' covariance

    @checked
    def __init__(self, inputs: Count, targets: Count, degree: Degree):
        """Initialize to no change at all."""
        super().__init__()
        self.degree = degree
        self.scale = Normalizer(inputs)
        self.targets = Normalizer(targets)
        size = num_monomials(inputs, degree)
        # log2 of a monomial of twos and ones counts the powers of the input that is 2
        base = torch.full((inputs, inputs), 1.0, dtype=torch.float64) + torch.eye(inputs)
        powers = monomials(base, degree).log2().round().T
        self.register_buffer("powers", powers, persistent=False)
        for name, shape in (
            ("hyper", (targets, inputs + 2)),
            ("weights", (size, targets)),
            ("root", (targets, size, size)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @property
    def noise(self) -> Tensor:
        """Return the noise's variance (t,), in standardized targets."""
        return self._noise(self.hyper.T)

    def fit(self, x: Tensor, y: Tensor, *, of: Tensor | None = None) -> None:
        """Fit the prior to x (N, n), y (N, t) by its evidence, then the weights.

        Args:
            x: (N, n).
            y: (N, t).
            of: size (t,) of the numbers that y was computed from; None for that of y itself.
        """
        self.scale.fit(x)
        self.targets.fit(y, of=of)
        phi, z = self.features(x), self.targets(y).double()
        q, r = torch.linalg.qr(phi)
        projected = q.T @ z
        residual = (z - q @ projected).square().sum(0)  # that no weights explain
        for target in range(z.shape[1]):
            column = projected[:, target]
            self.hyper[target] = self._fit_prior(r, column, residual[target], len(z))
        self.solve(x, y)

    def _fit_prior(self, r: Tensor, column: Tensor, residual: Tensor, rows: int) -> Tensor:
        """Return the hyperparameters (n + 2,) of one target that maximize the evidence.

        Args:
            r: the triangle (F, F) of the monomials' QR decomposition.
            column: the target in the frame of Q, (F,).
            residual: squared norm (,) of the target's part outside that frame.
            rows: N.
        """
        start = torch.full_like(self.hyper[0], -1.0)
        start[0], start[-1] = 0.0, math.log(0.1)
        hyper = start.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([hyper], max_iter=40, line_search_fn="strong_wolfe")

        def negative_log_evidence() -> Tensor:
            optimizer.zero_grad()
            noise = self._noise(hyper)
            q, root = self._whiten(hyper, r)
            fit = q[: len(r)].T @ column
            misfit = residual + (column - q[: len(r)] @ fit).square().sum()
            misfit = (misfit + (q[len(r) :] @ fit).square().sum()) / noise
            value = (rows * noise.log() + misfit) / 2 + root.diagonal().abs().log().sum()
            # a weak prior of A and l, for those that the data do not determine
            value = value + (hyper - start)[:-1].square().sum() / 18
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(negative_log_evidence)
        return hyper.detach()

    def solve(self, x: Tensor, y: Tensor) -> None:
        """Compute the weights of x (N, n), y (N, t) under the present prior."""
        q, r = torch.linalg.qr(self.features(x))
        projected = q.T @ self.targets(y).double()
        for target, hyper in enumerate(self.hyper):
            q, root = self._whiten(hyper, r)
            prior = self._prior(hyper).diag()
            self.root[target] = torch.linalg.solve_triangular(root, prior, upper=True, left=False)
            fit = q[: len(r)].T @ projected[:, target]
            self.weights[:, target] = self.root[target] @ fit / self.noise[target].sqrt()

    @staticmethod
    def _noise(hyper: Tensor) -> Tensor:
        """Return the variance of the noise under hyper (n + 2, ...)."""
        return (2 * hyper[-1]).exp() + MIN_NOISE**2

    def _prior(self, hyper: Tensor) -> Tensor:
        """Return the prior standard deviation (F,) of each weight under hyper (n + 2,)."""
        factorials = torch.lgamma(self.powers + 1).sum(1)
        return (hyper[0] + self.powers @ hyper[1:-1] - factorials / 2).clamp(-30, 15).exp()

    def _whiten(self, hyper: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return the QR decomposition [r D / noise^.5; I] = Q R, with D the prior's deviations.

        R' R is the weights' precision, in units of the prior. The squares of the monomials are
        never formed: on clean data their rounding errors would be taken for noise.

        Args:
            hyper: (n + 2,).
            r: the triangle (F, F) of the monomials' QR decomposition.
        """
        scaled = r * self._prior(hyper) / self._noise(hyper).sqrt()
        return torch.linalg.qr(torch.cat([scaled, torch.eye(r.shape[1]).to(r)]))

    def features(self, x: Tensor) -> Tensor:
        """Return the monomials (N, F) of x (N, n), float64."""
        return monomials(self.scale(x).double(), self.degree)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict mean and variance (N, t) of the noiseless standardized targets at x (N, n)."""
        phi = self.features(x)
        return phi @ self.weights, torch.stack([(phi @ r).square().sum(1) for r in self.root], 1)


@final
class BayesianPolynomialReward(LearnedDynamicsReward):
    """Density of a change under a Bayesian polynomial regression, MacKay 1992, and the ensemble.

    The regression predicts N(m, v), and the ensemble's members, whose means differ, N(mu, u). The
    score is the logarithm of the product of the two densities of the noiseless change. Where noise
    leaves the regression's weights uncertain, v grows with the leverage of (obs, action) and the
    ensemble decides; on clean data v is nearly 0 and the regression decides.

    The reward, which thresholds and students use, is the regression's density of a noisy change.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        degree: of the monomials, lower where there would be more than max_features.
        max_features: largest number of monomials.
        max_rows: largest number of rows of the data that are used, drawn at random.
    """

    needs_member_means = True
    scores_are_rewards = False

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        degree: Degree = 6,
        max_features: Count = 120,
        max_rows: Count = 20_000,
    ):
        """Allocate the regression."""
        super().__init__()
        inputs = obs_dim + action.dim
        self.polynomial = BayesianPolynomial(
            inputs, obs_dim, highest_degree(inputs, degree, max_features)
        )
        self._max_rows = max_rows

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Fit the regression of the change of obs; see DynamicsReward.fit."""
        data = draw_rows(data, self._max_rows, generator=generator)
        change = data.next_obs - data.obs
        self.polynomial.fit(torch.cat([data.obs, data.action], 1), change, of=size(data.obs))
        return {"model/dynamics_reward_noise": self.polynomial.noise.sqrt().mean().item()}

    def refit(self, data: Transitions) -> None:
        """Fit the weights to data (B, ...) under the present prior."""
        self.polynomial.solve(torch.cat([data.obs, data.action], 1), data.next_obs - data.obs)

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return log densities (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, ...).

        Their tails are a Cauchy distribution's, which a student can learn.
        """
        mean, variance = self.polynomial.predict(torch.cat([obs, action], 1))
        error = self.polynomial.targets(next_obs - obs) - mean
        noise = self.polynomial.noise
        return -0.5 * (error.square() + variance + noise).log().sum(1).to(obs.dtype)

    @torch.no_grad()
    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return log densities of candidates (K, B); see DynamicsReward.score.

        Where all members agree exactly, only the regression counts.
        """
        mean, variance = self.polynomial.predict(torch.cat([obs, action], 1))
        change, member_changes = (
            self.polynomial.targets(next_obs - obs)
            for next_obs in (candidates.next_obs, candidates.member_means)
        )
        spread = member_changes.var(0, correction=0)
        error = (change - mean).square() / (variance + NEGLIGIBLE_STD**2)
        precision = torch.where(spread > 0, 1 / spread, 0.0)
        apart = (change - member_changes.mean(0)).square() * precision
        return -0.5 * (error + apart).sum(2).to(obs.dtype)
