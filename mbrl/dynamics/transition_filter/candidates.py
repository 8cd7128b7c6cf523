"""What a transition filter chooses from: the model's candidates, and others further out.

On most tasks no judge helps where every candidate is wrong: the pool limits before the judge does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.transition_filter.base import Candidates
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import PolynomialModel
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Prediction, Task, Transitions


class Proposals(NamedTuple):
    """Candidates, and what the base model says of each."""

    candidates: Candidates
    reward: Tensor  # (K, B); of those that are not the base's own: the mean of its means
    terminated: Tensor  # (K, B) bool; likewise, what most of its means say
    valid: Tensor  # (K, B) bool; likewise


Score = Callable[[Candidates], Tensor]  # -> (K, B)


class CandidateGenerator(nn.Module):
    """Propose successors: samples, means, and what lies beyond both.

    "plain" are num_samples of the base model. "wide" adds its means, their mean mu, mu + k (mean -
    mu) for each k of spread, and the edge members. "polynomial" is one polynomial's prediction
    alone, "search" what the judge likes best of all successors (by the cross-entropy method).

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: whose projection the proposals go through.
        generator: source of the initial weights.
        kind: of the proposals.
        num_samples: of the base, its members in turn.
        num_means: members of the base asked for their means.
        spread: factors of the members' disagreement.
        polynomial: whether "wide" also holds the polynomial's prediction.
        population: of a search, in each of its iterations.
        num_iterations: of a search.
        edges: settings of the edge members.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        generator: torch.Generator,
        kind: Literal["plain", "wide", "polynomial", "search"] = "wide",
        num_samples: int = 10,
        num_means: int = 5,
        spread: tuple[float, ...] = (-2.0, -1.0, 2.0, 3.0),
        polynomial: bool = False,
        population: int = 64,
        num_iterations: int = 8,
        edges: dict[str, Any] | None = None,
    ):
        """Make the networks that it needs."""
        super().__init__()
        self.kind = kind
        self.num_samples = num_samples
        self._task, self._num_means, self._spread = task, num_means, spread
        self._population, self._num_iterations = population, num_iterations
        self.edges = TailHoldoutEnsemble(obs_dim, action.dim, generator=generator, **(edges or {}))
        needed = kind == "polynomial" or (kind == "wide" and polynomial)
        self.polynomial = PolynomialModel(obs_dim, action.dim) if needed else None

    def fit(
        self, data: Transitions, *, with_edges: bool, generator: torch.Generator
    ) -> dict[str, float]:
        """Fit the edge members, if the judge or the pool needs them, and the polynomial.

        Args:
            data: transitions (B, ...).
            with_edges: whether the judge needs the edge members.
            generator: source of every random draw.
        """
        if self.kind == "plain" and not with_edges:
            return {}
        metrics = self.edges.fit(data, generator=generator)
        if self.polynomial is not None:
            metrics |= self.polynomial.fit(data, self.edges)
        return metrics

    def propose(
        self,
        base: Dynamics,
        state: Any,
        obs: Tensor,
        action: Tensor,
        score: Score,
        *,
        generator: torch.Generator | None,
        with_means: bool = True,
    ) -> Proposals:
        """Propose K successors of each row.

        Args:
            base: the model.
            state: its belief of B rows.
            obs: (B, obs_dim) of these rows.
            action: (B, act_dim).
            score: the judge's, for a search.
            generator: of the samples; without one there are none.
            with_means: whether the judge looks at the means; plain samples come without, else.
        """
        own, samples, first = self._ask(base, state, action, generator, with_means)
        rows = obs.shape[0]
        after = own.next_obs.view(-1, rows, obs.shape[1])
        means = after[:first]
        taken = after[first:] if self.kind == "plain" and samples else after
        if self.kind == "wide":
            middle = means.mean(0)
            beyond = [middle + k * (means - middle) for k in self._spread]
            others = [middle[None], *beyond, self.edges.predict(obs, action)]
            if self.polynomial is not None:
                others.append(self.polynomial.predict(obs, action)[None])
            taken = torch.cat([taken, *(self._project(x) for x in others)])
        elif self.kind == "polynomial":
            assert self.polynomial is not None
            taken = self._project(self.polynomial.predict(obs, action)[None])
        elif self.kind == "search":
            taken = self._search(means, obs, score, generator)
        candidates = Candidates(taken, means)
        fields = [x.view(-1, rows) for x in (own.reward, own.terminated, own.valid)]
        if self.kind == "plain" and samples:
            drawn = [x[first:] for x in fields]
            return Proposals(candidates, drawn[0], drawn[1], drawn[2])
        kept = len(after) if self.kind in ("plain", "wide") else 0
        reward, terminated, valid = (x[:kept] for x in fields)
        rest = len(taken) - kept
        most = [x[:first].to(obs.dtype).mean(0).expand(rest, -1) for x in fields]
        return Proposals(
            candidates,
            torch.cat([reward, most[0]]),
            torch.cat([terminated, most[1] > 0.5]),
            torch.cat([valid, most[2] > 0.5]),
        )

    def _ask(
        self,
        base: Dynamics,
        state: Any,
        action: Tensor,
        generator: torch.Generator | None,
        with_means: bool,
    ) -> tuple[Prediction, bool, int]:
        """Ask the base for its means, then for samples if there is a generator.

        Returns:
            The answers, whether there are samples among them, and the number of means.
        """
        num = self.num_samples if generator is not None and self.kind in ("plain", "wide") else 0
        first = 0 if num and self.kind == "plain" and not with_means else self._num_means
        if isinstance(base, GaussianEnsemble):  # both in one evaluation
            found = base.candidates_with_means(state, action, num, first, generator=generator)
            return found[1], num > 0, first
        asked = [(first, None), (num, generator)]
        found = [candidates_of(base, state, action, k, generator=g)[1] for k, g in asked if k]
        parts: Any = [torch.cat(fields) for fields in zip(*(x[:4] for x in found), strict=True)]
        return Prediction(parts[0], parts[1], parts[2], parts[3], None), num > 0, first

    def _project(self, next_obs: Tensor) -> Tensor:
        """Put next_obs (K, B, obs_dim) back onto the task's manifold."""
        if self._task.project is None:
            return next_obs
        return self._task.project(next_obs.flatten(0, 1)).view_as(next_obs)

    @torch.no_grad()
    def _search(
        self, means: Tensor, obs: Tensor, score: Score, generator: torch.Generator | None
    ) -> Tensor:
        """Find what the judge likes best around the means (M, B, obs_dim): (1, B, obs_dim)."""
        center = means.mean(0)
        spread = means.std(0, correction=0) + self.edges.targets.std
        if generator is None:
            generator = torch.Generator(obs.device).manual_seed(0)
        shape = (self._population, *center.shape)
        for _ in range(self._num_iterations):
            noise = torch.randn(shape, generator=generator, device=obs.device)
            tried = self._project(center + spread * noise)
            best = score(Candidates(tried, means)).topk(self._population // 8, 0).indices
            elite = tried.gather(0, best[..., None].expand(-1, -1, tried.shape[2]))
            center, spread = elite.mean(0), elite.std(0, correction=0)
        return self._project(center[None])
