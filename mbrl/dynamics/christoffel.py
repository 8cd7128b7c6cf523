"""A judge in closed form: how near a transition is to the algebraic set that the data lie on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl.dynamics.base import Dynamics
from mbrl.dynamics.edges import EdgeMembers
from mbrl.dynamics.judge import Candidates, LearnedJudge
from mbrl.dynamics.normalizer import Normalizer
from mbrl.dynamics.polynomials import count, monomials
from mbrl.types import ActionSpec, Transitions

PERTURBED = (-2.0, -1.0, 0.5, 1.0, 2.0, 4.0)  # of the edge members' answers


class Christoffel(LearnedJudge):
    """Score by the Christoffel function of (obs, action, change), an implicit polynomial.

    With z the standardised transition and phi its monomials the reward is

        -log phi(z)' (M + eps I)^-1 phi(z),  M = mean of phi phi'.

    Where the dynamics are F(obs, action, change) = 0 for polynomials F, these span the null space
    of M, and the reward falls steeply off the set where they vanish: also far from the data, since
    a polynomial that vanishes on them vanishes on the whole set. Lasserre and Pauwels 2019 (the
    Christoffel function), Luo et al. 2024 (MOREC, what the judge is for).

    Noise in next_obs blurs that set along the change alone, and powers of the change then carry the
    blur into M: the set that is found is bent. So features that hold the change only linearly,
    beside the monomials of (obs, action), are tried too: what they say at one (obs, action) is how
    far the change is from a polynomial regression.

    Kind, degree and eps are chosen at the data's edges: fitted to the rest, judges choose among
    perturbed predictions of networks that never saw the edge. The lowest degree wins that is not
    worse than the best by more than two standard errors of their difference: edges are near, and
    what does no harm there can do much further out. More may be kept, their ranks averaged.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        degrees: tried.
        ridges: eps tried.
        num_kept: settings whose ranks are averaged; 1 takes the chosen alone.
        max_features: kinds with more are left out.
        max_rows: of the data, drawn at random, that the moments are taken from.
    """

    needs_edges = True
    whiten: Tensor  # (S, F, F)
    degree: Tensor  # (S,) int64
    ridge: Tensor  # (S,)
    linear: Tensor  # (S,) bool, in the change

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        degrees: tuple[int, ...] = (1, 2, 3, 4),
        ridges: tuple[float, ...] = (1e-9, 1e-7, 1e-5, 1e-3),
        num_kept: int = 1,
        max_features: int = 600,
        max_rows: int = 20_000,
    ):
        """Allocate the whitenings."""
        super().__init__()
        width = 2 * obs_dim + action.dim
        self._ridges, self._max_rows, self._given = ridges, max_rows, obs_dim + action.dim
        sizes = {(d, False): count(width, d) for d in degrees}  # of (degree, linear in the change)
        sizes |= {(d, True): count(self._given, d) + obs_dim for d in degrees if d > 1}
        self._kinds = [kind for kind in sorted(sizes) if sizes[kind] <= max_features]
        self.num_kept = min(num_kept, len(self._kinds) * len(ridges))
        self.scores_rewards = self.num_kept == 1  # else ranks
        self.scale = Normalizer(width, floor=1e-6)
        largest = max(sizes[kind] for kind in self._kinds)
        shape = (self.num_kept, largest, largest)
        self.register_buffer("whiten", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("degree", torch.zeros(self.num_kept, dtype=torch.int64))
        self.register_buffer("ridge", torch.zeros(self.num_kept, dtype=torch.float64))
        self.register_buffer("linear", torch.zeros(self.num_kept, dtype=torch.bool))

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: EdgeMembers | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Choose the settings at the edges; take the moments of everything."""
        if len(data.reward) > self._max_rows:
            draw = torch.randperm(len(data.reward), generator=generator, device=generator.device)
            data = Transitions(*(x[draw[: self._max_rows]] for x in data))
        assert edges is not None
        z = self._features(data.obs, data.action, data.next_obs, refit=True)
        questions = edges.questions(data, PERTURBED, generator=generator)
        outside = edges.edges(data.obs, data.action)
        spread = (data.next_obs - data.obs).std(0, correction=0).clamp(min=1e-6)
        found = []  # of each kind (edges, R)
        for kind in self._kinds:
            phi = self._monomials(z, *kind)
            whole = phi.T @ phi
            logs = []  # of each edge, (R,)
            for (rows, offered), edge in zip(questions, outside, strict=True):
                inside = (whole - phi[edge].T @ phi[edge]) / int((~edge).sum())
                n = offered.shape[0]
                asked = self._features(
                    data.obs[rows].repeat(n, 1),
                    data.action[rows].repeat(n, 1),
                    offered.flatten(0, 1),
                )
                score = -_rewards(self._monomials(asked, *kind), inside, self._ridges)
                best = score.view(len(self._ridges), n, -1).argmin(1, keepdim=True)
                wrong = ((offered - data.next_obs[rows]) / spread).square().mean(-1).sqrt()
                picked = wrong.expand(len(best), -1, -1).gather(1, best)[:, 0].mean(1)
                logs.append((picked / wrong.mean()).log())
            found.append(torch.stack(logs))
        errors = torch.cat(found, 1)  # (edges, settings)
        settings = [(*kind, ridge) for kind in self._kinds for ridge in self._ridges]
        order = _order(errors, [degree for degree, _, _ in settings])[: self.num_kept]
        self.whiten.zero_()
        for slot, index in enumerate(order):
            degree, linear, ridge = settings[index]
            phi = self._monomials(z, degree, linear)
            w = _whitening(phi.T @ phi / len(phi), ridge)
            self.whiten[slot, : len(w), : len(w)] = w
            self.degree[slot], self.linear[slot], self.ridge[slot] = degree, linear, ridge
        return {
            "model/judge_degree": float(self.degree[0]),
            "model/judge_linear": float(self.linear[0]),
            "model/judge_ridge": float(self.ridge[0]),
            "model/judge_edge_ratio": errors[:, order[0]].mean().exp().item(),
        }

    def _features(
        self, obs: Tensor, action: Tensor, next_obs: Tensor, *, refit: bool = False
    ) -> Tensor:
        """Standardise (obs, action, change): (N, n), float64."""
        x = torch.cat([obs, action, next_obs - obs], 1)
        if refit:
            self.scale.fit(x)
        return self.scale(x).double()

    def _monomials(self, z: Tensor, degree: int, linear: bool) -> Tensor:
        """Give the features (N, F) of a kind."""
        if not linear:
            return monomials(z, degree)
        return torch.cat([monomials(z[:, : self._given], degree), z[:, self._given :]], 1)

    @torch.no_grad()
    def rewards(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the reward under each setting kept: (S, N).

        Args:
            obs: (N, obs_dim).
            action: (N, act_dim).
            next_obs: (N, obs_dim).
        """
        z = self._features(obs, action, next_obs)
        found = []
        for slot in range(self.num_kept):
            phi = self._monomials(z, int(self.degree[slot]), bool(self.linear[slot]))
            w = self.whiten[slot, : phi.shape[1], : phi.shape[1]]
            found.append(-(phi @ w).square().sum(1).log())
        return torch.stack(found)

    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the reward under the best setting (N,)."""
        return self.rewards(obs, action, next_obs)[0].to(obs.dtype)

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score candidates by the best setting, or by their mean rank under all kept: (K, B)."""
        count, rows = candidates.next_obs.shape[:2]
        found = self.rewards(
            obs.repeat(count, 1), action.repeat(count, 1), candidates.next_obs.flatten(0, 1)
        ).view(self.num_kept, count, rows)
        if self.num_kept == 1:
            return found[0].to(obs.dtype)
        ranks = found.argsort(1).argsort(1).to(obs.dtype)
        return ranks.mean(0) + ranks[0] / (count * self.num_kept)  # ties go to the best setting


def _order(errors: Tensor, degrees: list[int]) -> list[int]:
    """Order settings by their errors (edges, settings): first the simplest of the best."""
    order = errors.mean(0).argsort(stable=True).tolist()
    worse = errors - errors[:, order[:1]]
    level = worse.mean(0) <= 2 * worse.std(0) / math.sqrt(len(errors))
    first = next(i for i in sorted(order, key=degrees.__getitem__) if level[i])
    return [first, *(i for i in order if i != first)]


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
