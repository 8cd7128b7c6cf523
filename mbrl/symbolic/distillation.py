"""Distillation of a network policy into a formula of a few terms (SINDy-RL, Zolman et al. 2024).

1. Imitate: fit polynomials of all sizes to the teacher's actions, at the states that the
   student visits in the model (DAgger, Ross et al. 2011).
2. Select: keep the polynomial with the highest return in the model, not the closest one.
3. Polish: search for coefficients of a higher return (CMA-ES), and remove terms one by one,
   each time the one that costs the least return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from mbrl.dynamics.sindy.library import Library, evaluate_terms
from mbrl.errors import NumericalFault
from mbrl.imagination.rollout import imagine
from mbrl.nn.normalizer import divisor
from mbrl.roles import Model
from mbrl.symbolic.cma_es import CmaEs
from mbrl.symbolic.sparse_policy import SparsePolicy
from mbrl.types import ActionSpec

Policy = Callable[[Tensor], Tensor]  # obs (B, obs_dim) -> action (B, act_dim)
_ROWS = 6000  # labeled states of a fit
_FIRST_FIT, _NEXT_FIT = 60, 15  # iterations of L-BFGS: with all terms, after each removal
_LEAK, _RIDGE = 0.02, 1e-4
_CANDIDATES = 4  # times max_terms: terms from which the last ones are chosen
_PER_REMOVAL = 15  # fraction 1/15 of the iterations follows each removal
_NUM_STARTS = 16  # episodes that compare policies during the search
_MAX_NORM = 30.0  # of the coefficients, as changes of the action in halves of its range
_STD, _MIN_STD = 0.1, 0.03  # of the samples, as fractions of the coefficients' sizes: first, later


class Distilled(NamedTuple):
    """Returns in the model of teacher and students."""

    teacher: float  # of the teacher
    imitation: float  # of the best imitation with at most max_terms terms
    polished: float  # after its coefficients were optimized
    tried: list[tuple[int, float]]  # of each imitation: number of terms, return


@final
class ModelReturns:
    """Returns of policies in a model, all from the same first states.

    A row that ends is frozen. One that leaves the validity region gets, for each step until the
    time limit, the least reward of all rows and steps.

    Args:
        model: its mean prediction is used.
        starts: first observations (S, obs_dim) of the episodes.
        horizon: steps of an episode.
        hold: steps for which an action is held.
    """

    def __init__(self, model: Model[Any], starts: Tensor, horizon: int, hold: int):
        """Store the model and the first states."""
        self._model = model
        self.starts = starts
        self._horizon = horizon
        self._hold = hold

    @torch.no_grad()
    def evaluate(
        self, policy: Policy, copies: int = 1, starts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run a policy from every first state.

        Args:
            policy: returns the actions of copies * S rows; the rows of a copy are contiguous.
            copies: K.
            starts: indices (S,) of the first states to use; None for all.

        Returns:
            Observations at each decision (T, K * S, obs_dim), returns (K, S).

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        obs = (self.starts if starts is None else self.starts[starts]).repeat(copies, 1)
        visited: list[Tensor] = []

        def act(index: int, obs: Tensor) -> Tensor:
            visited.append(obs)
            return policy(obs)

        left = torch.zeros_like(obs[:, 0], dtype=torch.bool)  # the validity region
        total, steps_left = torch.zeros_like(obs[:, 0]), torch.zeros_like(obs[:, 0])
        least = torch.full((), torch.inf, device=obs.device)
        state = self._model.initial(obs)
        for step in imagine(self._model, state, obs, act, self._horizon, hold=self._hold):
            pred = step.prediction
            total = total + torch.where(step.alive, pred.reward, 0)
            least = torch.minimum(least, torch.where(step.alive, pred.reward, torch.inf).min())
            steps_left = steps_left + left
            left = left | (step.alive & ~pred.valid)
            obs = step.next_obs
        if not torch.isfinite(obs).all():
            raise NumericalFault("the model predicted a NaN or an infinity")
        return torch.stack(visited), (total + steps_left * least).view(copies, -1)


def distill(
    teacher: Policy,
    model_returns: ModelReturns,
    student: SparsePolicy,
    action: ActionSpec,
    *,
    max_terms: int = 12,
    num_rounds: int = 12,
    num_polish: int = 150,
    population: int = 96,
    generator: torch.Generator,
) -> Distilled:
    """Distill a teacher into a sparse policy, whose coefficients are set.

    Args:
        teacher: the policy to be imitated.
        model_returns: runs policies in the model.
        student: the sparse policy.
        action: the environment's actions.
        max_terms: largest number of coefficients, over all actions.
        num_rounds: rounds of running a student and labeling its states by the teacher.
        num_polish: iterations of CMA-ES on the coefficients before terms are removed, and after;
            a fifteenth of them after each removal. 0 returns the best imitation.
        population: policies of an iteration.
        generator: source of every random draw.
    """
    visited, returns = model_returns.evaluate(teacher)
    few = torch.arange(min(_NUM_STARTS, len(model_returns.starts)), device=visited.device)
    teacher_return = returns.mean().item()
    states = visited.flatten(0, 1)
    library, size = student.library, len(few)
    weights, tried = student.weights.clone(), []
    for number in range(num_rounds):
        rows = torch.randperm(len(states), generator=generator, device=states.device)[:_ROWS]
        obs = states[rows]
        labels = teacher(obs).double()
        options = _imitate(library, obs, labels, action, _CANDIDATES * max_terms, weights)
        policies = _population(library, options, action)
        visited, returns = model_returns.evaluate(policies, len(options), few)
        scores = returns.mean(1)
        tried += zip(options, scores.tolist(), strict=True)
        # label the states of the closest fit in the first rounds, then those of the best one
        visitor = 0 if number < num_rounds // 3 else int(scores.argmax())
        weights = options[0]
        new = visited[:, visitor * size : (visitor + 1) * size]
        states = torch.cat([states, new.flatten(0, 1)])
    small = [option for option in tried if _count(option[0]) <= max_terms]
    best, imitation = max(small, key=lambda option: option[1])
    polished = imitation
    if num_polish:
        search = _Search(
            library, _sizes(library, states), model_returns, action, population, generator
        )
        large = [o for o in tried if max_terms <= _count(o[0]) <= _CANDIDATES * max_terms] or small
        start = max(large, key=lambda option: option[1])[0]
        best, polished = search(start, max_terms, num_polish)
    student.weights.copy_(best)
    sizes = [(_count(option), score) for option, score in tried]
    return Distilled(teacher_return, float(imitation), float(polished), sizes)


def _count(weights: Tensor) -> int:
    """Return the number of coefficients (act_dim, F) that are not 0."""
    return int((weights != 0).sum())


def _sizes(library: Library, obs: Tensor) -> Tensor:
    """Return the root mean square of every term (F,) over obs (B, obs_dim)."""
    size = library.evaluate(list(obs.double().unbind(1))).square().mean(0).sqrt()
    return torch.where(size > 0, size, 1.0)


def _imitate(
    library: Library, obs: Tensor, labels: Tensor, action: ActionSpec, most: int, weights: Tensor
) -> Tensor:
    """Fit the labels, remove the smallest terms and fit again, down to one term.

    Args:
        library: the terms.
        obs: (N, obs_dim).
        labels: actions of the teacher (N, act_dim), within the bounds.
        action: its bounds clip the sums.
        most: above this number of terms several are removed at once.
        weights: coefficients (act_dim, F) to start from.

    Returns:
        Coefficients of each size (num_options, act_dim, F), the largest first.
    """
    sizes = _sizes(library, obs)
    features = library.evaluate(list(obs.double().unbind(1))) / sizes
    middle, half = (action.high + action.low) / 2, (action.high - action.low) / 2
    unit = divisor(half)  # a component that cannot move needs no terms
    targets = (labels - middle) / unit
    mask, scaled = torch.ones_like(weights), weights * sizes / unit[:, None]
    options, num_iterations = [], _FIRST_FIT
    while mask.any():
        scaled = _fit(features, targets, mask, scaled, num_iterations)
        options.append(scaled * half[:, None] / sizes)
        number, num_iterations = int(mask.sum()), _NEXT_FIT
        magnitude = torch.where(mask > 0, scaled.abs(), torch.inf).flatten()
        mask.view(-1)[magnitude.argsort()[: max(1, (number - most) // 3)]] = 0
    return torch.stack(options)


def _fit(
    features: Tensor, targets: Tensor, mask: Tensor, start: Tensor, num_iterations: int
) -> Tensor:
    """Fit coefficients (act_dim, F) by least squares of clipped sums.

    The clip leaks a little, so that sums beyond the wrong bound have a gradient.

    Args:
        features: values of the terms (N, F).
        targets: (N, act_dim) in [-1, 1].
        mask: (act_dim, F), 0 for removed terms.
        start: coefficients (act_dim, F) to start from.
        num_iterations: of L-BFGS.
    """
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=num_iterations, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = features @ (weights * mask).T
        clipped = total.clamp(-1, 1)
        error = clipped + _LEAK * (total - clipped) - targets
        value = error.square().mean() + _RIDGE * (weights * mask).square().mean()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    fitted = (weights * mask).detach()
    return torch.where(torch.isfinite(fitted), fitted, start * mask)


def _population(library: Library, weights: Tensor, action: ActionSpec) -> Policy:
    """Return K policies as one, with weights (K, act_dim, F); rows are ordered policy by policy."""
    used = torch.nonzero((weights != 0).flatten(0, 1).any(0))[:, 0].tolist()
    terms = [library[i] for i in used]
    coefficients = weights[..., used].to(action.low.dtype).transpose(1, 2)  # (K, F, A)

    def act(obs: Tensor) -> Tensor:
        columns = list(obs.T.contiguous().unbind(0))
        features = torch.stack(evaluate_terms(terms, columns), -1)
        actions = features.view(len(coefficients), -1, len(used)) @ coefficients
        return action.clip(actions.flatten(0, 1))

    return act


class _Search:
    """Search for coefficients of a higher return by CMA-ES, and removal of terms.

    Args:
        library: the terms.
        sizes: of the terms (F,), which make coefficients comparable.
        model_returns: runs policies in the model.
        action: the environment's actions.
        population: policies of an iteration.
        generator: source of every random draw.
    """

    def __init__(
        self,
        library: Library,
        sizes: Tensor,
        model_returns: ModelReturns,
        action: ActionSpec,
        population: int,
        generator: torch.Generator,
    ):
        """Store what does not change."""
        self._library, self._sizes, self._model_returns = library, sizes, model_returns
        self._action, self._population, self._generator = action, population, generator

    def __call__(
        self, weights: Tensor, max_terms: int, num_iterations: int
    ) -> tuple[Tensor, float]:
        """Optimize weights (act_dim, F), remove terms down to max_terms, optimize again.

        A second search starts from zeros, with the same terms; the better of both goes on. The
        imitation of a policy that jumps is often a poor place to start.

        Returns:
            The best coefficients (act_dim, F) and their return.
        """
        terms = torch.nonzero(weights.flatten())[:, 0]
        half = (self._action.high - self._action.low).double() / 2
        sizes = (
            self._sizes / divisor(half)[:, None]
        ).flatten()  # what a coefficient moves, of the range
        mean = weights.flatten()[terms] * sizes[terms]
        std = 0.3 * mean.abs() + _STD * mean.abs().max()
        returns = self._returns(weights.shape, sizes)
        searches = []
        for first_mean, first_std in ((mean, std), (mean * 0, torch.ones_like(mean))):
            cma_es = CmaEs(first_mean, first_std.square().diag(), self._population, self._generator)
            self._iterate(cma_es, terms, returns, num_iterations)
            searches.append(cma_es)
        scores = [returns(search.mean[None], terms, None).item() for search in searches]
        cma_es = searches[scores[1] > scores[0]]
        while len(terms) > max_terms:
            for _ in range(1 + (len(terms) - max_terms) // 8):
                cma_es, terms = self._without_one(cma_es, terms, returns)
            self._iterate(cma_es, terms, returns, max(1, num_iterations // _PER_REMOVAL))
        best, best_return = cma_es.mean, returns(cma_es.mean[None], terms, None).item()
        for _ in range(_PER_REMOVAL):
            num_last = max(1, num_iterations // _PER_REMOVAL)
            self._iterate(cma_es, terms, returns, num_last, 2 * _NUM_STARTS)
            score = returns(cma_es.mean[None], terms, None).item()
            if score > best_return:
                best, best_return = cma_es.mean, score
        result = torch.zeros_like(weights).flatten()
        result[terms] = best / sizes[terms]
        return result.view_as(weights), best_return

    def _returns(self, shape: torch.Size, sizes: Tensor) -> Callable[..., Tensor]:
        """Return a function of scaled coefficients (K, n) of some terms: their returns (K,).

        Args:
            shape: (act_dim, F).
            sizes: scale of the coefficients (act_dim * F,).
        """

        def returns(means: Tensor, terms: Tensor, starts: Tensor | None) -> Tensor:
            options = means.new_zeros(len(means), sizes.numel())
            options[:, terms] = means / sizes[terms]
            policy = _population(self._library, options.view(-1, *shape), self._action)
            return self._model_returns.evaluate(policy, len(means), starts)[1].mean(1)

        return returns

    def _iterate(
        self,
        cma_es: CmaEs,
        terms: Tensor,
        returns: Callable[..., Tensor],
        num_iterations: int,
        num_starts: int = _NUM_STARTS,
    ) -> None:
        """Run iterations of CMA-ES on terms (n,), each from other first states.

        Otherwise the coefficients would fit the few first states.
        """
        for _ in range(num_iterations):
            cma_es.tell(returns(cma_es.ask(), terms, self._some_starts(num_starts)))
            cma_es.shrink(_MAX_NORM)  # longer ones only saturate the actions further

    def _some_starts(self, num_starts: int = _NUM_STARTS) -> Tensor:
        """Sample indices of first states (num_starts,)."""
        starts = self._model_returns.starts
        order = torch.randperm(len(starts), generator=self._generator, device=starts.device)
        return order[:num_starts]

    def _without_one(
        self, cma_es: CmaEs, terms: Tensor, returns: Callable[..., Tensor]
    ) -> tuple[CmaEs, Tensor]:
        """Remove the term of terms (n,) without which the return is highest.

        The other coefficients compensate, by the covariance (optimal brain surgeon, Hassibi and
        Stork 1993: CMA-ES learns the inverse Hessian), or stay where that is better.
        """
        mean, covariance = cma_es.mean, cma_es.covariance
        variance = covariance.diagonal()
        compensated = mean - (mean / variance)[:, None] * covariance  # row i: without term i
        plain = mean - mean.diag()
        options = torch.cat([compensated, plain])
        options.view(2, len(terms), -1).diagonal(dim1=1, dim2=2).zero_()
        best = int(returns(options, terms, self._some_starts()).argmax())
        removed = best % len(terms)
        others = torch.arange(len(terms), device=terms.device) != removed
        column = covariance[removed]
        conditional = covariance - torch.outer(column, column) / variance[removed]
        conditional, mean = conditional[others][:, others], options[best][others]
        least = (_MIN_STD * mean.abs().mean()).square() / conditional.diagonal().mean()
        conditional = conditional * least.clamp(min=1)
        return CmaEs(mean, conditional, self._population, self._generator), terms[others]
