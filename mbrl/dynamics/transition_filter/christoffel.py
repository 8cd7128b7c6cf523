"""A judge in closed form: how near a transition is to the algebraic set that the data lie on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl.dynamics.transition_filter.base import Candidates, LearnedDynamicsReward
from mbrl.dynamics.transition_filter.bayesian_polynomial import Regression
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import count, monomials
from mbrl.nn.early_stopping import draw_rows
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions

PERTURBED = (-2.0, -1.0, 0.5, 1.0, 2.0, 4.0)  # of the edge members' answers


class Christoffel(LearnedDynamicsReward):
    """Score by the Christoffel function of (obs, action, change), an implicit polynomial.

    With z the standardised transition and phi its monomials the reward is

        -log phi(z)' (M + eps I)^-1 phi(z),  M = mean of phi phi'.

    Where the dynamics are F(obs, action, change) = 0 for polynomials F, these span the null space
    of M, and the reward falls steeply off the set where they vanish: also far from the data, since
    a polynomial that vanishes on them vanishes on the whole set. Lasserre and Pauwels 2019 (the
    Christoffel function), Luo et al. 2024 (MOREC, what the judge is for).

    Noise in next_obs blurs that set, powers of the change carry the blur into M, and the set that
    is found is bent. A Bayesian regression of the change (Regression), which knows what noise has
    left uncertain, is therefore tried first.

    Which of the two, degree and eps are chosen at the data's edges: fitted to the rest, judges
    choose among perturbed predictions of networks that never saw the edge. The simplest wins that
    is not worse than the best by more than two standard errors of their difference: edges are near,
    and what does no harm there can do much further out.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        degrees: tried.
        ridges: eps tried.
        max_features: degrees with more are left out.
        max_rows: of the data, drawn at random, that the moments are taken from.
    """

    needs_edges = True
    needs_means = True
    whiten: Tensor  # (F, F)
    degree: Tensor  # () int64; 0: the regression
    ridge: Tensor  # ()

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        degrees: tuple[int, ...] = (1, 2, 3, 4),
        ridges: tuple[float, ...] = (1e-9, 1e-7, 1e-5, 1e-3),
        max_features: int = 600,
        max_rows: int = 20_000,
    ):
        """Allocate the whitening."""
        super().__init__()
        width = 2 * obs_dim + action.dim
        self._ridges, self._max_rows = ridges, max_rows
        self._degrees = [d for d in degrees if count(width, d) <= max_features]
        self.regression = Regression(obs_dim=obs_dim, action=action, max_rows=max_rows)
        self.scale = Normalizer(width, floor=1e-6)
        largest = count(width, max(self._degrees))
        self.register_buffer("whiten", torch.zeros(largest, largest, dtype=torch.float64))
        self.register_buffer("degree", torch.tensor(0))
        self.register_buffer("ridge", torch.tensor(0.0, dtype=torch.float64))

    @property
    def scores_rewards(self) -> bool:
        """Tell whether scores are the rewards: the regression's are not."""
        return bool(self.degree > 0)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Choose the settings at the edges; take the moments of everything."""
        data = draw_rows(data, self._max_rows, generator=generator)
        assert edges is not None
        z = self._features(data.obs, data.action, data.next_obs, refit=True)
        found = self.regression.fit(data, model, edges=edges, generator=generator)
        phis = [monomials(z, degree) for degree in self._degrees]
        wholes = [phi.T @ phi for phi in phis]
        questions = edges.questions(data, PERTURBED, generator=generator)
        outside = edges.edges(data.obs, data.action)
        spread = (data.next_obs - data.obs).std(0, correction=0).clamp(min=1e-6)
        errors = []  # of each edge (settings,)
        for (rows, offered), edge in zip(questions, outside, strict=True):
            n, obs, action = len(offered), data.obs[rows], data.action[rows]
            asked = self._features(obs.repeat(n, 1), action.repeat(n, 1), offered.flatten(0, 1))
            self.regression.refit(Transitions(*(x[~edge] for x in data)))
            alone = Candidates(offered, offered[:1])  # no members to listen to
            scores = [self.regression.score(obs, action, alone).double()[None]]
            for degree, phi, whole in zip(self._degrees, phis, wholes, strict=True):
                inside = (whole - phi[edge].T @ phi[edge]) / int((~edge).sum())
                told = _rewards(monomials(asked, degree), inside, self._ridges)
                scores.append(told.view(-1, n, len(rows)))
            best = torch.cat(scores).argmax(1, keepdim=True)
            wrong = ((offered - data.next_obs[rows]) / spread).square().mean(-1).sqrt()
            picked = wrong.expand(len(best), -1, -1).gather(1, best)[:, 0].mean(1)
            errors.append((picked / wrong.mean()).log())
        self.regression.refit(data)
        settings = [(0, 0.0), *((d, ridge) for d in self._degrees for ridge in self._ridges)]
        chosen = _choose(torch.stack(errors), [degree for degree, _ in settings])
        degree, ridge = settings[chosen]
        self.degree.fill_(degree)
        self.ridge.fill_(ridge)
        self.whiten.zero_()
        if degree:
            w = _whitening(wholes[self._degrees.index(degree)] / len(z), ridge)
            self.whiten[: len(w), : len(w)] = w
        return found | {
            "model/judge_degree": float(degree),
            "model/judge_ridge": ridge,
            "model/judge_edge_ratio": torch.stack(errors)[:, chosen].mean().exp().item(),
        }

    def _features(
        self, obs: Tensor, action: Tensor, next_obs: Tensor, *, refit: bool = False
    ) -> Tensor:
        """Standardise (obs, action, change): (N, n), float64."""
        x = torch.cat([obs, action, next_obs - obs], 1)
        if refit:
            self.scale.fit(x)
        return self.scale(x).double()

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the reward (N,) under what was chosen."""
        if not self.degree:
            return self.regression.reward(obs, action, next_obs)
        phi = monomials(self._features(obs, action, next_obs), int(self.degree))
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
        """Score every candidate; see DynamicsReward.score."""
        if self.degree:
            return super().score(obs, action, candidates, generator=generator)
        return self.regression.score(obs, action, candidates, generator=generator)


def _choose(errors: Tensor, degrees: list[int]) -> int:
    """Choose of settings, given their errors (edges, settings), the simplest of the best."""
    order = errors.mean(0).argsort(stable=True).tolist()
    worse = errors - errors[:, order[:1]]
    level = worse.mean(0) <= 2 * worse.std(0) / math.sqrt(len(errors))
    return next(i for i in sorted(order, key=degrees.__getitem__) if level[i])


def _rewards(phi: Tensor, moments: Tensor, ridges: tuple[float, ...]) -> Tensor:
    """Give the rewards of phi (N, F) with each ridge: (R, N)."""
    values, vectors = torch.linalg.eigh(moments)
    shares = (phi @ vectors).square()
    weights = [1 / (values.clamp(min=0) + ridge) for ridge in ridges]
    return -(shares @ torch.stack(weights, 1)).log().T


def _whitening(moments: Tensor, ridge: float) -> Tensor:
    """Give W (F, F) with W W' = (moments + ridge I)^-1."""
    values, vectors = torch.linalg.eigh(moments)
    return vectors / (values.clamp(min=0) + ridge).sqrt()
