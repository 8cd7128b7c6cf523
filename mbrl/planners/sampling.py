"""The loop of all sampling planners: propose action sequences, score them in the model, update.

A planner of this kind is a class with three methods, in one file:

    class RandomShooting(SamplingPlanner[Distribution]):
        def start(self, num_envs):
            return initial_distribution(self.action, num_envs, self.horizon, std=1.0, min_std=0.0)

        def propose(self, proposal, iteration, *, generator):
            return proposal.sample(500, generator=generator)

        def update(self, proposal, iteration, candidates, returns):
            return Update(proposal, *winner(candidates, returns))

E environments are planned at once, K candidates, H decisions, A = act_dim.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from annotated_types import Interval
from torch import Tensor

from mbrl.nn.generators import as_generator
from mbrl.nn.memory import keep_freed_memory
from mbrl.planners.clock import Clock
from mbrl.planners.objective import Objective
from mbrl.roles import Model, Plan, Planner
from mbrl.types import ActionSpec, State

Discount = Annotated[float, Interval(gt=0, le=1)]
Risk = Annotated[float, Interval(gt=0, le=1)]


class Proposal(Protocol):
    """Source of candidates, of E environments: tensors (E, ...), as a named tuple."""

    def shift(self, *, generator: torch.Generator) -> Self:
        """Return the proposal for the plan of the next decision, one decision later."""
        ...


P = TypeVar("P", bound=Proposal)


class Iteration(NamedTuple):
    """Which iteration of a plan it is."""

    index: int  # 0 for the first
    total: int  # iterations of this plan; index = total is the one that only scores
    is_warm: bool  # whether the plan started from the plan before


class Update(NamedTuple, Generic[P]):
    """Result of an iteration."""

    proposal: P  # of the next iteration
    actions: Tensor  # (E, H, A) the plan if this iteration is the last
    value: Tensor  # (E,) its return
    alternative: Tensor | None = None  # (E, H, A) scored against the plan after the last iteration


class SamplingPlanner(Planner[P], Generic[P]):
    """Planner that scores candidates in the model, iteration after iteration.

    A plan starts from the proposal of the plan before, one decision later, or from `start`. Each
    iteration scores what `propose` returns and hands the returns to `update`. It ends after its
    iterations, or when one more would miss the deadline; the plan is that of the last update.
    The first planner of a process lets glibc keep freed memory (mbrl.nn.memory).

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_iterations: iterations of a plan that starts without a plan before.
        warm_iterations: iterations of a plan that starts from the plan before.
        num_particles: model rows per candidate, over which returns are averaged.
        risk: share of the worst particles, over which returns are averaged instead of all (the
            conditional value at risk); None for all.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        by_gradient: whether `update` differentiates the returns. The model's noise is then the same
            in every iteration, candidates may all be ruled out after the first one, and what the
            last update leads to is scored as well.

    Raises:
        BadInput: if an action has an infinite bound.

    Attributes:
        action: the environment's actions.
        horizon: decisions H.
        objective: scores candidates.
    """

    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: int = 20,
        num_iterations: int = 20,
        warm_iterations: int = 5,
        num_particles: int = 1,
        risk: float | None = None,
        action_hold: int = 1,
        discount: float = 1.0,
        by_gradient: bool = False,
    ):
        """Store the settings."""
        action.check_bounded()
        keep_freed_memory()
        self.action, self.horizon = action, horizon
        self.num_particles, self.action_hold = num_particles, action_hold
        self.objective = Objective(action, num_particles, action_hold, discount, risk)
        self._num_iterations, self._warm_iterations = num_iterations, warm_iterations
        self._by_gradient = by_gradient

    @abstractmethod
    def start(self, num_envs: int) -> P:
        """Return the proposal of E environments without a plan before."""

    @abstractmethod
    def propose(self, proposal: P, iteration: Iteration, *, generator: torch.Generator) -> Tensor:
        """Sample candidates (E, K, H, A), inside the action bounds."""

    @abstractmethod
    def update(
        self, proposal: P, iteration: Iteration, candidates: Tensor, returns: Tensor
    ) -> Update[P]:
        """Update the proposal from candidates (E, K, H, A) and their returns (E, K).

        A return of -inf rules a candidate out.
        """

    @torch.no_grad()
    def plan(
        self,
        state: State,
        model: Model[State],
        *,
        generator: torch.Generator | int,
        previous: Plan[P] | None = None,
        deadline: float | None = None,
    ) -> Plan[P]:
        """Plan for every environment of a model state; see Planner.plan."""
        generator = as_generator(generator, self.action.low.device)
        clock = Clock(deadline)
        scorer = _Scorer(self.objective, model, state, generator, self._by_gradient)
        if previous is None:
            proposal, total = self.start(self.objective.num_envs(state)), self._num_iterations
        else:
            proposal = previous.warm_start.shift(generator=generator)
            total = self._warm_iterations

        def iterate(proposal: P, index: int) -> Update[P]:
            iteration = Iteration(index, total, previous is not None)
            with torch.set_grad_enabled(self._by_gradient):
                candidates = self.propose(proposal, iteration, generator=generator)
                returns = scorer(candidates, all_may_fail=self._by_gradient and index > 0)
            return self.update(proposal, iteration, candidates, returns)

        nothing = self.action.low  # at least one iteration follows
        update = Update(proposal, nothing, nothing)
        for index in clock.iterations(total):
            update = iterate(update.proposal, index)
        if self._by_gradient and not clock.is_over():
            update = iterate(update.proposal, total)
        proposal, actions, value, alternative = update
        if alternative is not None and not clock.is_over():
            finalists = torch.stack([alternative, actions], 1)
            actions, value = winner(finalists, scorer(finalists, all_may_fail=True))
        return Plan(actions, value, proposal, clock.info() | {"evaluations": scorer.evaluations})


class _Scorer:
    """Objective of one plan, which counts what it scores.

    Args:
        objective: scores candidates.
        model: the model.
        state: its state of E environments.
        generator: source of the model's noise.
        same_noise: whether the model's noise is the same at each call.
    """

    def __init__(
        self,
        objective: Objective,
        model: Model[State],
        state: State,
        generator: torch.Generator,
        same_noise: bool,
    ):
        self._objective, self._model, self._state = objective, model, state
        self._generator = generator
        self._noise = torch.Generator(generator.device) if same_noise else generator
        self._seed: int | None = None
        self.evaluations = 0  # candidates scored so far, for each environment

    def __call__(self, candidates: Tensor, *, all_may_fail: bool) -> Tensor:
        """Compute the returns (E, K) of candidates (E, K, H, A); see Objective."""
        if self._noise is not self._generator:
            if self._seed is None:
                device = self._generator.device
                drawn = torch.randint(2**62, (), generator=self._generator, device=device)
                self._seed = int(drawn)
            self._noise.manual_seed(self._seed)
        self.evaluations += candidates.shape[1]
        return self._objective(
            self._model,
            self._state,
            candidates,
            generator=self._noise,
            all_may_fail=all_may_fail,
        )


def default_elites(num_samples: int) -> int:
    """Return the number of elites where none is given: a tenth of the samples, from 1 to 50.

    Args:
        num_samples: of the first iteration.
    """
    return max(1, min(50, num_samples // 10))


def best(candidates: Tensor, returns: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Return the num best candidates of each environment and their weights.

    All have the same weight. One with a return of -inf is ruled out: it is among the best only
    where too few others are left, and has no weight.

    Args:
        candidates: (E, K, H, A).
        returns: (E, K).
        num: of the best.

    Returns:
        Candidates (E, num, H, A), the best first, and weights (E, num) that sum to 1.
    """
    values, index = returns.topk(num, dim=1)
    elites = candidates.gather(1, index[:, :, None, None].expand(-1, -1, *candidates.shape[2:]))
    is_finite = torch.isfinite(values)
    number = is_finite.sum(1, keepdim=True).clamp(min=1).to(candidates.dtype)
    return elites, torch.where(is_finite, 1 / number, 0)


def winner(candidates: Tensor, returns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best candidate of each environment and its return.

    Args:
        candidates: (E, K, H, A).
        returns: (E, K).

    Returns:
        Actions (E, H, A) and returns (E,).
    """
    value, index = returns.max(1)
    index = index[:, None, None, None].expand(-1, 1, *candidates.shape[2:])
    return candidates.gather(1, index)[:, 0], value
