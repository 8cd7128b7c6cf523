"""A judge that knows how far its data reach: Bayesian regression on monomials, and the ensemble."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.base import Candidates, LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import count, monomials
from mbrl.nn.early_stopping import draw_rows
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions

ENOUGH = 1e-3  # of a target's deviation: of errors below, none weighs more than another
FLOOR = 1e-7  # of the noise, in standard deviations of a target: what rounding leaves


class BayesianPolynomial(nn.Module):
    """Regress targets on the monomials of their inputs, the prior found by its evidence.

    The coefficient of z1^a1 ... zn^an has the prior N(0, A^2 l1^2a1 ... ln^2an / (a1! ... an!)), as
    in the Taylor series of a draw from the kernel A^2 exp(sum li^2 zi zi'): inputs that matter
    little by themselves matter less in powers and products. A, l and the noise are the likeliest,
    MacKay 1992. No term is dropped: one that the data can neither show nor exclude is nothing among
    them, and far out all that counts; there it widens the prediction.

    Args:
        inputs: n.
        targets: t, each with a prior of its own.
        degree: of the monomials.
    """

    powers: Tensor  # (F, n) of the inputs in each monomial
    hyper: Tensor  # (t, n + 2) logarithms of A, l, noise
    weights: Tensor  # (F, t)
    root: Tensor  # (t, F, F) whose square root root' is the weights' covariance

    def __init__(self, inputs: int, targets: int, degree: int):
        """Begin with no change at all."""
        super().__init__()
        self.degree = degree
        self.scale = Normalizer(inputs, floor=1e-6)
        self.targets = Normalizer(targets, floor=1e-6)
        size = count(inputs, degree)
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
        """Give the noise's variance (t,), in standardised targets."""
        return self._noise(self.hyper.T)

    def fit(self, x: Tensor, y: Tensor) -> None:
        """Find the likeliest prior of x (N, n), y (N, t), then the weights."""
        self.scale.fit(x)
        self.targets.fit(y)
        phi, z = self.features(x), self.targets(y).double()
        q, r = torch.linalg.qr(phi)
        told = q.T @ z
        left = (z - q @ told).square().sum(0)  # what no weights explain
        for target in range(z.shape[1]):
            column = told[:, target]
            self.hyper[target] = self._likeliest(r, column, left[target], len(z))
        self.solve(x, y)

    def _likeliest(self, r: Tensor, column: Tensor, left: Tensor, rows: int) -> Tensor:
        """Maximise the evidence of a target, given as in _whiten: (n + 2,)."""
        start = torch.full_like(self.hyper[0], -1.0)
        start[0], start[-1] = 0.0, math.log(0.1)
        hyper = start.clone().requires_grad_(True)
        search = torch.optim.LBFGS([hyper], max_iter=40, line_search_fn="strong_wolfe")

        def surprise() -> Tensor:
            search.zero_grad()
            noise = self._noise(hyper)
            q, root = self._whiten(hyper, r)
            fit = q[: len(r)].T @ column
            misfit = left + (column - q[: len(r)] @ fit).square().sum()
            misfit = (misfit + (q[len(r) :] @ fit).square().sum()) / noise
            found = (rows * noise.log() + misfit) / 2 + root.diagonal().abs().log().sum()
            found = found + (hyper - start)[:-1].square().sum() / 18  # where the data are mute
            found.backward()
            return found

        with torch.enable_grad():
            search.step(surprise)
        return hyper.detach()

    def solve(self, x: Tensor, y: Tensor) -> None:
        """Find the weights of x (N, n), y (N, t) under the prior there is."""
        q, r = torch.linalg.qr(self.features(x))
        told = q.T @ self.targets(y).double()
        for target, hyper in enumerate(self.hyper):
            q, root = self._whiten(hyper, r)
            prior = self._prior(hyper).diag()
            self.root[target] = torch.linalg.solve_triangular(root, prior, upper=True, left=False)
            fit = q[: len(r)].T @ told[:, target]
            self.weights[:, target] = self.root[target] @ fit / self.noise[target].sqrt()

    @staticmethod
    def _noise(hyper: Tensor) -> Tensor:
        """Give the variance of the noise under hyper (n + 2, ...)."""
        return (2 * hyper[-1]).exp() + FLOOR**2

    def _prior(self, hyper: Tensor) -> Tensor:
        """Give the prior standard deviation (F,) of each weight under hyper (n + 2,)."""
        factorials = torch.lgamma(self.powers + 1).sum(1)
        return (hyper[0] + self.powers @ hyper[1:-1] - factorials / 2).clamp(-30, 15).exp()

    def _whiten(self, hyper: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Decompose [r D / noise^.5; I] = Q R, D the prior: R' R is the weights' precision D by D.

        No square of the monomials is formed: on clean data its rounding would be what is seen.

        Args:
            hyper: (n + 2,).
            r: the triangle (F, F) of the monomials; in its frame the target is (F,).
        """
        scaled = r * self._prior(hyper) / self._noise(hyper).sqrt()
        return torch.linalg.qr(torch.cat([scaled, torch.eye(r.shape[1]).to(r)]))

    def features(self, x: Tensor) -> Tensor:
        """Give the monomials (N, F) of x (N, n), float64."""
        return monomials(self.scale(x).double(), self.degree)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and variance (N, t) of the noiseless standardised targets at x (N, n)."""
        phi = self.features(x)
        return phi @ self.weights, torch.stack([(phi @ r).square().sum(1) for r in self.root], 1)


class Regression(LearnedDynamicsReward):
    """Score by a Bayesian regression's density of the noiseless change, times the ensemble's.

    The regression says N(m, v), the members of the ensemble, whose means disagree, N(mu, u); the
    score is the logarithm of their product. Where noise leaves the regression's weights uncertain,
    v grows with the leverage of (obs, action) and the ensemble is listened to; on clean data v is
    next to nothing and it is not. The reward, for thresholds and students, is of the regression
    alone and of noisy changes.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        degree: of the monomials, lower where there would be more than max_features.
        max_features: see degree.
        max_rows: of the data, drawn at random.
    """

    needs_means = True
    scores_rewards = False

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        degree: int = 6,
        max_features: int = 120,
        max_rows: int = 20_000,
    ):
        """Allocate the regression."""
        super().__init__()
        inputs = obs_dim + action.dim
        fitting = [d for d in range(1, degree + 1) if count(inputs, d) <= max_features]
        self.polynomial = BayesianPolynomial(inputs, obs_dim, max(fitting, default=1))
        self._max_rows = max_rows

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Regress the change of obs; see DynamicsReward.fit."""
        data = draw_rows(data, self._max_rows, generator=generator)
        self.polynomial.fit(torch.cat([data.obs, data.action], 1), data.next_obs - data.obs)
        return {"model/judge_noise": self.polynomial.noise.sqrt().mean().item()}

    def refit(self, data: Transitions) -> None:
        """Regress again under the prior there is."""
        self.polynomial.solve(torch.cat([data.obs, data.action], 1), data.next_obs - data.obs)

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the predictive log density (N,), with a Cauchy's tails: a student can learn it."""
        mean, variance = self.polynomial.predict(torch.cat([obs, action], 1))
        wrong = self.polynomial.targets(next_obs - obs) - mean
        noise = self.polynomial.noise
        return -0.5 * (wrong.square() + variance + noise).log().sum(1).to(obs.dtype)

    @torch.no_grad()
    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score candidates by both densities: (K, B); members that all say the same say nothing."""
        mean, variance = self.polynomial.predict(torch.cat([obs, action], 1))
        after, told = (
            self.polynomial.targets(x - obs) for x in (candidates.next_obs, candidates.means)
        )
        spread = told.var(0, correction=0)
        wrong = (after - mean).square() / (variance + ENOUGH**2)
        apart = (after - told.mean(0)).square() * torch.where(spread > 0, 1 / spread, 0.0)
        return -0.5 * (wrong + apart).sum(2).to(obs.dtype)
