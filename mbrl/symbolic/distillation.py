"""From a network policy to a few terms (SINDy-RL, Zolman et al. 2024; DAgger, Ross et al. 2011).

Fit monomials to what the teacher does where the student goes in the model, of all sizes; take the
fit that earns most in the model, not the closest one. Let its coefficients climb there (CMA-ES),
and take away the terms that are missed least, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.sindy.library import Library, evaluate_terms
from mbrl.errors import NumericalFault
from mbrl.symbolic.cma_es import CmaEs
from mbrl.symbolic.sparse_policy import SparsePolicy
from mbrl.types import ActionSpec, map_tensors

Policy = Callable[[Tensor], Tensor]  # obs (B, obs_dim) -> action (B, act_dim)
_ROWS = 6000  # teacher's answers in a fit
_FIRST_FIT, _NEXT_FIT = 60, 15  # iterations of L-BFGS, with all terms and after each loss
_LEAK, _RIDGE = 0.02, 1e-4
_ROOM = 4  # times the terms at most, from which they are chosen
_PER_LOSS = 15  # share of the iterations that follow a loss
_STARTS = 16  # episodes by which policies are compared while coefficients climb
_LARGEST = 30.0  # length of the coefficients, as moves of the action in halves of its range
_SPREAD, _LEAST = 0.1, 0.03  # shares of the coefficients' sizes, of first draws, of later ones


class Distilled(NamedTuple):
    """What the model says of the policies."""

    teacher: float  # return of the teacher
    imitation: float  # of the best fit
    polished: float  # after the coefficients were polished
    tried: list[tuple[int, float]]  # number of terms, return


class Stage:
    """The model as a stage on which policies are compared, all from the same starts.

    A row that ends stands still; one that leaves where the model is valid earns, until the episode
    would end, the least that was ever paid.

    Args:
        model: a Model; its mean prediction is used.
        starts: obs (S, obs_dim) where episodes begin.
        horizon: steps of an episode.
        hold: steps for which an action is held.
    """

    def __init__(self, model: Any, starts: Tensor, horizon: int, hold: int):
        """Take the model."""
        self._model = model
        self.starts = starts
        self._horizon = horizon
        self._hold = hold

    @torch.no_grad()
    def play(
        self, policy: Policy, copies: int = 1, starts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Play from every start, copy by copy.

        Args:
            policy: acts for copies * S rows; the rows of a copy stand together.
            copies: K.
            starts: numbers of the starts (S,) to begin at, instead of all.

        Returns:
            Observations acted on (T, K * S, obs_dim), returns (K, S).

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        obs = (self.starts if starts is None else self.starts[starts]).repeat(copies, 1)
        state = self._model.initial(obs)
        alive = torch.ones_like(obs[:, 0], dtype=torch.bool)
        outside = ~alive
        total, left = torch.zeros_like(obs[:, 0]), torch.zeros_like(obs[:, 0])
        least = torch.full((), torch.inf, device=obs.device)
        seen = []
        for t in range(self._horizon):
            if t % self._hold == 0:
                action = policy(obs)
                seen.append(obs)
            following, pred = self._model.step(state, action)
            state = map_tensors(
                lambda a, b, m=alive: torch.where(m[:, None], a, b), following, state
            )
            obs = torch.where(alive[:, None], pred.next_obs, obs)
            total = total + torch.where(alive, pred.reward, 0)
            least = torch.minimum(least, torch.where(alive, pred.reward, torch.inf).min())
            left = left + outside
            outside = outside | (alive & ~pred.valid)
            alive = alive & pred.valid & ~pred.terminated
        if not torch.isfinite(obs).all():
            raise NumericalFault("the model predicted a NaN or an infinity")
        return torch.stack(seen), (total + left * least).view(copies, -1)


def distill(
    teacher: Policy,
    stage: Stage,
    student: SparsePolicy,
    action: ActionSpec,
    *,
    max_terms: int = 12,
    num_rounds: int = 12,
    num_polish: int = 150,
    population: int = 96,
    generator: torch.Generator,
) -> Distilled:
    """Fill a sparse policy with what a teacher does.

    Args:
        teacher: the policy to be imitated.
        stage: where policies are played and compared.
        student: gets its coefficients.
        action: the environment's actions.
        max_terms: coefficients at most, over all actions.
        num_rounds: of playing the student and asking the teacher (DAgger).
        num_polish: iterations of CMA-ES on the coefficients before terms are taken away, and
            after; a fifteenth of them after each loss. 0 leaves the best imitation.
        population: policies of an iteration.
        generator: source of every random draw.
    """
    acted, returns = stage.play(teacher)
    few = torch.arange(min(_STARTS, len(stage.starts)), device=acted.device)
    told = returns.mean().item()
    asked = acted.flatten(0, 1)
    library, size = student.library, len(few)
    weights, tried = student.weights.clone(), []
    for number in range(num_rounds):
        rows = torch.randperm(len(asked), generator=generator, device=asked.device)[:_ROWS]
        obs = asked[rows]
        options = _shrink(library, obs, teacher(obs).double(), action, _ROOM * max_terms, weights)
        acted, returns = stage.play(_population(library, options, action), len(options), few)
        earned = returns.mean(1)
        tried += zip(options, earned.tolist(), strict=True)
        # first where the closest fit goes, then where the best one does
        leader = 0 if number < num_rounds // 3 else int(earned.argmax())
        weights = options[0]
        asked = torch.cat([asked, acted[:, leader * size : (leader + 1) * size].flatten(0, 1)])
    small = [option for option in tried if _count(option[0]) <= max_terms]
    best, best_return = max(small, key=lambda option: option[1])
    polished = best_return
    if num_polish:
        search = _Search(library, _sizes(library, asked), stage, action, population, generator)
        many = [o for o in tried if max_terms <= _count(o[0]) <= _ROOM * max_terms] or small
        start = max(many, key=lambda option: option[1])[0]
        best, polished = search(start, max_terms, num_polish)
    student.weights.copy_(best)
    sizes = [(_count(option), earned) for option, earned in tried]
    return Distilled(told, float(best_return), float(polished), sizes)


def _count(weights: Tensor) -> int:
    """Count the coefficients that are not 0."""
    return int((weights != 0).sum())


def _sizes(library: Library, obs: Tensor) -> Tensor:
    """Give the root mean square of every term (F,) over obs (B, obs_dim)."""
    size = library.evaluate(list(obs.double().unbind(1))).square().mean(0).sqrt()
    return torch.where(size > 0, size, 1.0)


def _shrink(
    library: Library, obs: Tensor, answers: Tensor, action: ActionSpec, most: int, weights: Tensor
) -> Tensor:
    """Fit answers (N, act_dim), drop the least terms and fit again, down to one term.

    Args:
        library: the terms.
        obs: (N, obs_dim).
        answers: of the teacher, within the bounds.
        action: the bounds.
        most: above this number of terms several are dropped at once.
        weights: coefficients (act_dim, F) to start from.

    Returns:
        Coefficients of each size (num_options, act_dim, F), the largest first.
    """
    sizes = _sizes(library, obs)
    features = library.evaluate(list(obs.double().unbind(1))) / sizes
    middle, half = (action.high + action.low) / 2, (action.high - action.low) / 2
    wanted = (answers - middle) / half
    mask, found = torch.ones_like(weights), weights * sizes / half[:, None]
    options, rounds = [], _FIRST_FIT
    while mask.any():
        found = _fit(features, wanted, mask, found, rounds)
        options.append(found * half[:, None] / sizes)
        number, rounds = int(mask.sum()), _NEXT_FIT
        weakest = torch.where(mask > 0, found.abs(), torch.inf).flatten()
        mask.view(-1)[weakest.argsort()[: max(1, (number - most) // 3)]] = 0
    return torch.stack(options)


def _fit(features: Tensor, wanted: Tensor, mask: Tensor, start: Tensor, rounds: int) -> Tensor:
    """Least squares of clipped sums (N, act_dim): beyond a bound they do the same.

    The clip leaks a little, so that what is beyond the wrong bound finds its way back.
    """
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=rounds, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = features @ (weights * mask).T
        clipped = total.clamp(-1, 1)
        missed = clipped + _LEAK * (total - clipped) - wanted
        value = missed.square().mean() + _RIDGE * (weights * mask).square().mean()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    found = (weights * mask).detach()
    return torch.where(torch.isfinite(found), found, start * mask)


def _population(library: Library, weights: Tensor, action: ActionSpec) -> Policy:
    """Act by K policies at once, weights (K, act_dim, F), on rows that stand policy by policy."""
    used = torch.nonzero((weights != 0).flatten(0, 1).any(0))[:, 0].tolist()
    terms = [library[i] for i in used]
    chosen = weights[..., used].to(action.low.dtype).transpose(1, 2)  # (K, F, A)

    def act(obs: Tensor) -> Tensor:
        columns = list(obs.T.contiguous().unbind(0))
        features = torch.stack(evaluate_terms(terms, columns), -1)
        moves = features.view(len(chosen), -1, len(used)) @ chosen
        return action.clip(moves.flatten(0, 1))

    return act


class _Search:
    """Search for coefficients of a higher return by CMA-ES, and take terms away.

    Args:
        library: the terms.
        sizes: of the terms (F,), so that coefficients can be compared.
        stage: where policies are played.
        action: the environment's actions.
        population: policies played at once.
        generator: source of every random draw.
    """

    def __init__(
        self,
        library: Library,
        sizes: Tensor,
        stage: Stage,
        action: ActionSpec,
        population: int,
        generator: torch.Generator,
    ):
        """Take what does not change."""
        self._library, self._sizes, self._stage = library, sizes, stage
        self._action, self._population, self._generator = action, population, generator

    def __call__(
        self, weights: Tensor, max_terms: int, num_iterations: int
    ) -> tuple[Tensor, float]:
        """Climb from weights (act_dim, F), lose terms down to max_terms, climb again.

        And climb from nothing, with as many terms: go on from where more is earned. What imitates
        a policy of jumps is often a poor place to start.

        Returns:
            The best coefficients and their return.
        """
        on = torch.nonzero(weights.flatten())[:, 0]
        half = (self._action.high - self._action.low).double() / 2
        sizes = (self._sizes / half[:, None]).flatten()  # what a coefficient moves, of the range
        mean = weights.flatten()[on] * sizes[on]
        width = 0.3 * mean.abs() + _SPREAD * mean.abs().max()
        played = self._plays(weights.shape, sizes)
        climbs = []
        for begun, wide in ((mean, width), (mean * 0, torch.ones_like(mean))):
            climb = CmaEs(begun, wide.square().diag(), self._population, self._generator)
            self._climb(climb, on, played, num_iterations)
            climbs.append(climb)
        earned = [played(climb.mean[None], on, None).item() for climb in climbs]
        climb = climbs[earned[1] > earned[0]]
        while len(on) > max_terms:
            for _ in range(1 + (len(on) - max_terms) // 8):
                climb, on = self._without_one(climb, on, played)
            self._climb(climb, on, played, max(1, num_iterations // _PER_LOSS))
        best, best_return = climb.mean, played(climb.mean[None], on, None).item()
        for _ in range(_PER_LOSS):
            self._climb(climb, on, played, max(1, num_iterations // _PER_LOSS), 2 * _STARTS)
            earned = played(climb.mean[None], on, None).item()
            if earned > best_return:
                best, best_return = climb.mean, earned
        found = torch.zeros_like(weights).flatten()
        found[on] = best / sizes[on]
        return found.view_as(weights), best_return

    def _plays(self, shape: torch.Size, sizes: Tensor) -> Callable[..., Tensor]:
        """Make a function that plays coefficients (K, n) of the terms `on`: returns (K,)."""

        def played(means: Tensor, on: Tensor, starts: Tensor | None) -> Tensor:
            options = means.new_zeros(len(means), sizes.numel())
            options[:, on] = means / sizes[on]
            policy = _population(self._library, options.view(-1, *shape), self._action)
            return self._stage.play(policy, len(means), starts)[1].mean(1)

        return played

    def _climb(
        self,
        climb: CmaEs,
        on: Tensor,
        played: Callable[..., Tensor],
        num_iterations: int,
        num_starts: int = _STARTS,
    ) -> None:
        """Iterate, each time from other starts, so that none is learned by heart."""
        for _ in range(num_iterations):
            climb.tell(played(climb.ask(), on, self._some_starts(num_starts)))
            climb.shrink(_LARGEST)  # beyond the bounds nothing changes any more

    def _some_starts(self, num_starts: int = _STARTS) -> Tensor:
        """Draw starts, numbers (num_starts,)."""
        number, device = len(self._stage.starts), self._stage.starts.device
        return torch.randperm(number, generator=self._generator, device=device)[:num_starts]

    def _without_one(
        self, climb: CmaEs, on: Tensor, played: Callable[..., Tensor]
    ) -> tuple[CmaEs, Tensor]:
        """Take away the term without which most is earned, the others moved to make up for it.

        The covariance says how (optimal brain surgeon, Hassibi & Stork 1993: CMA-ES learns the
        inverse Hessian).
        """
        mean, covariance = climb.mean, climb.covariance
        spread = covariance.diagonal()
        made_up = mean - (mean / spread)[:, None] * covariance  # row i: the mean without i
        plain = mean - mean.diag()
        options = torch.cat([made_up, plain])
        options.view(2, len(on), -1).diagonal(dim1=1, dim2=2).zero_()
        place = int(played(options, on, self._some_starts()).argmax())
        gone = place % len(on)
        kept = torch.arange(len(on), device=on.device) != gone
        rest = covariance - torch.outer(covariance[gone], covariance[gone]) / spread[gone]
        rest, mean = rest[kept][:, kept], options[place][kept]
        least = (_LEAST * mean.abs().mean()).square() / rest.diagonal().mean()
        rest = rest * least.clamp(min=1)
        return CmaEs(mean, rest, self._population, self._generator), on[kept]
