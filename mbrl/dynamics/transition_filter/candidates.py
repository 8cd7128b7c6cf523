"""Candidates that a transition filter chooses from: a model's samples, and successors beyond them.

Where every candidate is wrong, no dynamics reward helps: on most tasks the candidates limit a
filter, not the reward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Protocol, final, runtime_checkable

import torch
from annotated_types import Ge
from torch import Tensor, nn

from mbrl import moved
from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.transition_filter.base import Candidates
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomial_model import PolynomialModel
from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import Count, Finite, checked

Score = Callable[[Candidates], Tensor]  # -> (K, B)


class CandidatePredictions(NamedTuple):
    """Candidates, and what the base model predicts beside their next_obs.

    For candidates that are not the base's own: the mean over its means, or what most of them say.
    """

    candidates: Candidates
    reward: Tensor  # (K, B)
    terminated: Tensor  # (K, B) bool
    valid: Tensor  # (K, B) bool


@runtime_checkable
class SamplesWithMeans(Protocol):
    """Ability of a model to return candidates and its members' means from one evaluation."""

    def candidates_with_means(
        self,
        state: Any,
        action: Tensor,
        num: int,
        num_means: int,
        *,
        generator: torch.Generator | None,
    ) -> tuple[Any, Prediction]:
        """Return num_means without noise, then num samples, for action (B, act_dim).

        K = num_means + num leads: (K * B, ...).
        """
        ...


@final
class CandidateGenerator(nn.Module):
    """Generator of candidate successors.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment; its projection is applied to all candidates.
        generator: source of the initial weights.
        kind: which candidates there are:
            "plain": num_samples samples of the base model, as in Luo et al. 2024 (MOREC).
            "wide": these, the means of its members, their mean mu, mu + k (mean - mu) for each k
                of spread, and the predictions of the tail-holdout ensemble.
            "polynomial": the prediction of one polynomial alone.
            "search": the successor with the best score, by the cross-entropy method.
        num_samples: samples of the base, its members in turn.
        num_means: members of the base whose means are computed.
        spread: factors k of the members' deviations from their mean.
        polynomial: whether "wide" also has the polynomial's prediction.
        population: samples in each iteration of a search.
        num_iterations: iterations of a search.
        holdout_ensemble: settings of the TailHoldoutEnsemble, by its parameters' names.

    Raises:
        BadInput: if holdout_ensemble names no parameter of TailHoldoutEnsemble.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        task: Task,
        generator: torch.Generator | int,
        kind: Literal["plain", "wide", "polynomial", "search"] = "wide",
        num_samples: Count = 10,
        num_means: Count = 5,
        spread: tuple[Finite, ...] = (-2.0, -1.0, 2.0, 3.0),
        polynomial: bool = False,
        population: Annotated[int, Ge(8)] = 64,
        num_iterations: Count = 8,
        holdout_ensemble: dict[str, Any] | None = None,
    ):
        """Build the networks that the candidates need."""
        generator = as_generator(generator, action.low.device)
        super().__init__()
        self.kind = kind
        self.num_samples = num_samples
        self._task, self._num_means, self._spread = task, num_means, spread
        self._population, self._num_iterations = population, num_iterations
        try:
            self.holdout_ensemble = TailHoldoutEnsemble(
                obs_dim, action.dim, generator=generator, **(holdout_ensemble or {})
            )
        except (TypeError, BadInput) as error:
            raise BadInput(f"holdout_ensemble={holdout_ensemble}: {error}") from None
        moved.state_keys(self, {"edges.": "holdout_ensemble."})
        needed = kind == "polynomial" or (kind == "wide" and polynomial)
        self.polynomial = PolynomialModel(obs_dim, action.dim) if needed else None

    def fit(
        self, data: Transitions, *, with_holdout_ensemble: bool, generator: torch.Generator
    ) -> dict[str, float]:
        """Fit the tail-holdout ensemble, if it is needed, and the polynomial, if there is one.

        Args:
            data: transitions (B, ...).
            with_holdout_ensemble: whether the dynamics reward needs the ensemble.
            generator: source of every random draw.

        Returns:
            Metrics.
        """
        if self.kind == "plain" and not with_holdout_ensemble:
            return {}
        metrics = self.holdout_ensemble.fit(data, generator=generator)
        if self.polynomial is not None:
            metrics |= self.polynomial.fit(data, self.holdout_ensemble)
        return metrics

    def generate(
        self,
        base: Dynamics,
        state: Any,
        obs: Tensor,
        action: Tensor,
        score: Score,
        *,
        generator: torch.Generator | None,
        with_means: bool = True,
    ) -> CandidatePredictions:
        """Generate K candidates of each row.

        Args:
            base: the model.
            state: its belief of B rows.
            obs: (B, obs_dim) of these rows.
            action: (B, act_dim).
            score: of the dynamics reward, for a search.
            generator: source of the samples; without one there are only means.
            with_means: whether the members' means are needed even if all candidates are samples.
        """
        own, has_samples, first = self._predict(base, state, action, generator, with_means)
        rows = obs.shape[0]
        own_next = own.next_obs.view(-1, rows, obs.shape[1])
        means = own_next[:first]
        next_obs = own_next[first:] if self.kind == "plain" and has_samples else own_next
        if self.kind == "wide":
            mean = means.mean(0)
            beyond = [mean + k * (means - mean) for k in self._spread]
            others = [mean[None], *beyond, self.holdout_ensemble.predict(obs, action)]
            if self.polynomial is not None:
                others.append(self.polynomial.predict(obs, action)[None])
            next_obs = torch.cat([next_obs, *(self._project(x) for x in others)])
        elif self.kind == "polynomial":
            assert self.polynomial is not None
            next_obs = self._project(self.polynomial.predict(obs, action)[None])
        elif self.kind == "search":
            next_obs = self._search(means, obs, score, generator)
        candidates = Candidates(next_obs, means)
        fields = [x.view(-1, rows) for x in (own.reward, own.terminated, own.valid)]
        if self.kind == "plain" and has_samples:
            reward, terminated, valid = (x[first:] for x in fields)
            return CandidatePredictions(candidates, reward, terminated, valid)
        num_own = len(own_next) if self.kind in ("plain", "wide") else 0
        reward, terminated, valid = (x[:num_own] for x in fields)
        num_others = len(next_obs) - num_own
        average = [x[:first].to(obs.dtype).mean(0).expand(num_others, -1) for x in fields]
        return CandidatePredictions(
            candidates,
            torch.cat([reward, average[0]]),
            torch.cat([terminated, average[1] > 0.5]),
            torch.cat([valid, average[2] > 0.5]),
        )

    def _predict(
        self,
        base: Dynamics,
        state: Any,
        action: Tensor,
        generator: torch.Generator | None,
        with_means: bool,
    ) -> tuple[Prediction, bool, int]:
        """Compute the base's means for action (B, act_dim), then samples if there is a generator.

        Returns:
            The predictions, whether there are samples among them, and the number of means.
        """
        num = self.num_samples if generator is not None and self.kind in ("plain", "wide") else 0
        first = 0 if num and self.kind == "plain" and not with_means else self._num_means
        if isinstance(base, SamplesWithMeans):
            prediction = base.candidates_with_means(state, action, num, first, generator=generator)
            return prediction[1], num > 0, first
        wanted = [(first, None), (num, generator)]
        parts = [candidates_of(base, state, action, k, generator=g)[1] for k, g in wanted if k]
        return concatenate(parts), num > 0, first

    def _project(self, next_obs: Tensor) -> Tensor:
        """Project next_obs (K, B, obs_dim) onto the task's manifold."""
        if self._task.project is None:
            return next_obs
        return self._task.project(next_obs.flatten(0, 1)).view_as(next_obs)

    @torch.no_grad()
    def _search(
        self, means: Tensor, obs: Tensor, score: Score, generator: torch.Generator | None
    ) -> Tensor:
        """Search for the best score around the means (M, B, obs_dim) of obs (B, obs_dim).

        Returns:
            (1, B, obs_dim).
        """
        center = means.mean(0)
        std = means.std(0, correction=0) + self.holdout_ensemble.targets.std
        if generator is None:
            generator = torch.Generator(obs.device).manual_seed(0)
        shape = (self._population, *center.shape)
        for _ in range(self._num_iterations):
            noise = torch.randn(shape, generator=generator, device=obs.device)
            samples = self._project(center + std * noise)
            best = score(Candidates(samples, means)).topk(self._population // 8, 0).indices
            elites = samples.gather(0, best[..., None].expand(-1, -1, samples.shape[2]))
            center, std = elites.mean(0), elites.std(0, correction=0)
        return self._project(center[None])


def concatenate(predictions: list[Prediction]) -> Prediction:
    """Join predictions (B, ...) along their rows, without their uncertainties."""
    next_obs, reward, terminated, valid = (
        torch.cat(field) for field in zip(*(p[:4] for p in predictions), strict=True)
    )
    return Prediction(next_obs, reward, terminated, valid, None)
