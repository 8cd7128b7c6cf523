"""The roles of planning: Model, Planner, ActionSelector, and the one imagined rollout.

A model sees a belief S (a tensor or a named tuple of tensors, batch first). The rows of a belief
with P particles of B environments are ordered particle by particle: row p * B + b. So rows that
share an ensemble member stand together and each member is evaluated in one matrix product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.types import Prediction, State, map_tensors

_CERTAIN = "this model knows no uncertainty of its predictions; dynamics=ensemble or sindy do"


@runtime_checkable
class Model(Protocol[State]):
    """Imagine steps: all that a planner or an imagined rollout asks of a dynamics model."""

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> State:
        """Begin a belief at obs (B, obs_dim): num_particles * B rows, particle by particle.

        Without a generator the belief is the mean one (all members together).
        """
        ...

    def observe(
        self, state: State, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> State:
        """Take in a real step: action (B, act_dim) led to obs (B, obs_dim).

        Args:
            state: the belief before.
            action: what was done.
            obs: what is seen now.
            env_state: the simulator's (B, state_dim), None where there is none.
        """
        ...

    def step(
        self,
        state: State,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[State, Prediction]:
        """Predict one step for action (B, act_dim); without a generator no noise is drawn."""
        ...

    def candidates(
        self, state: State, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[State, Prediction]:
        """Offer num successors of each row for action (B, act_dim); K leads: (K * B, ...).

        A filter chooses among them. Without a generator no noise is drawn.
        """
        ...


class Plan(NamedTuple):
    """What a planner returns."""

    actions: Tensor  # (E, H, act_dim), E environments planned at once
    value: Tensor  # (E,) predicted return
    memory: Any  # what the next call may reuse (elites, std): tensors (E, ...), see Planner.start
    info: dict[str, Any]  # lower_bound, gap, iterations, latency ...


class Planner(ABC):
    """Choose actions by asking a model what they would lead to.

    Attributes:
        num_particles: imagined rows per environment that plan expects of a belief.
        action_hold: environment steps for which each action of a plan is held.
    """

    num_particles: int
    action_hold: int

    @abstractmethod
    def start(self, num_envs: int) -> Any:
        """Give E rows of memory, of the shape that plans have, for an agent to keep plans in."""

    @abstractmethod
    def plan(
        self,
        state: Any,
        model: Any,
        *,
        generator: torch.Generator,
        previous: Plan | None = None,
        deadline: float | None = None,
    ) -> Plan:
        """Plan for every environment of a belief.

        Args:
            state: the model's belief of E environments.
            model: a Model.
            generator: the source of every random draw.
            previous: the plan of the step before, to start from.
            deadline: seconds; the best plan so far is returned when they are over.

        Returns:
            A plan whose actions are inside the action bounds.
        """


@runtime_checkable
class ActionSelector(Protocol):
    """Act on an observation, as a policy does, or UP-MPC over a policy."""

    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) for obs (B, obs_dim)."""
        ...


class Returns(NamedTuple):
    """The value of imagined action sequences, averaged over particles."""

    value: Tensor  # (E, K) discounted rewards, plus the terminal value if one is given
    uncertainty: Tensor | None  # (E, K) discounted uncertainty; None unless asked for


def rollout(
    model: Any,
    state: Any,
    actions: Tensor,
    *,
    num_particles: int = 1,
    generator: torch.Generator | None = None,
    discount: float = 1.0,
    hold: int = 1,
    policy: ActionSelector | None = None,
    policy_generator: torch.Generator | None = None,
    horizon: int | None = None,
    terminal_value: Callable[[Tensor], Tensor] | None = None,
    with_uncertainty: bool = False,
    chunk: int = 2048,
) -> Returns:
    """Score K action sequences in each of E environments.

    After a predicted termination, or a step that the model does not stand by (valid = False), a
    row is frozen and earns no more reward; the terminal value goes to all but the terminated.
    Fixed shapes and no synchronisation, so that it can be captured on CUDA.

    Args:
        model: a Model; one that offers simulate(state, actions (B, H, act_dim)) -> Prediction of
            (B, H, ...) is asked for whole sequences.
        state: belief of num_particles * E rows, particle by particle.
        actions: (E, K, H, act_dim) in environment units.
        num_particles: P, rows of the belief per environment.
        generator: source of the model's noise; None for its mean prediction.
        discount: per model step.
        hold: model steps for which each action is held.
        policy: acts once the given actions are used up, until horizon.
        policy_generator: source of the policy's draws; by default generator.
        horizon: decisions in all; by default H.
        terminal_value: obs (B, obs_dim) -> (B,), earned by rows still alive at the end.
        with_uncertainty: also sum the model's uncertainty.
        chunk: rows evaluated at once, to stay in cache.

    Returns:
        Values (E, K).

    Raises:
        BadInput: if uncertainty is asked of a model that knows none.
    """
    num_envs, num_candidates, given, act_dim = actions.shape
    horizon = given if horizon is None else horizon
    whole = hasattr(model, "simulate") and policy is None and not with_uncertainty
    options: Any = {"generator": generator, "with_uncertainty": with_uncertainty}
    act: Any = policy
    size = max(1, chunk // (num_particles * num_envs))
    values, doubts = [], []
    for part in actions.split(size, dim=1) if size < num_candidates else (actions,):
        k = part.shape[1]
        # time leads, so that the actions of one step stand together in memory
        by_time = part.expand(num_particles, *part.shape).permute(3, 0, 1, 2, 4)
        by_time = by_time.reshape(given, -1, act_dim)  # (H, B, act_dim)
        steps = by_time.unbind()
        tiled = map_tensors(lambda x, k=k: x.repeat_interleave(k, dim=0), state)
        seen: Any = None
        if whole:
            seen = model.simulate(tiled, by_time.transpose(0, 1).repeat_interleave(hold, dim=1))

        everyone = torch.ones(by_time.shape[1], dtype=torch.bool, device=actions.device)
        alive, nobody = everyone, ~everyone
        ended = nobody  # by termination: nothing more to earn, not even the terminal value
        # where looking costs no synchronisation, nothing is frozen until a row ends
        freeze = not actions.is_cpu
        weight: Any = 1.0  # of the terminal value
        obs: Any = None
        good = going = None  # flags that were looked at: all valid, none terminated
        rewards, uncertainties = [], []
        for t in range(horizon * hold):
            if seen is not None:
                pred: Any = _at(seen, t)
            else:
                if t // hold < given:
                    action = steps[t // hold]
                elif t % hold == 0:
                    action = act.select(obs, generator=policy_generator or generator)
                following, pred = model.step(tiled, action, **options)
                tiled = (
                    map_tensors(partial(_keep, alive), following, tiled) if freeze else following
                )
            rewards.append(torch.where(alive, pred.reward, 0) if freeze else pred.reward)
            if with_uncertainty:
                doubt = pred.uncertainty
                if doubt is None:
                    raise BadInput(_CERTAIN)
                uncertainties.append(torch.where(alive, doubt, 0) if freeze else doubt)
            obs = _keep(alive, pred.next_obs, obs) if freeze and t else pred.next_obs
            if terminal_value is not None:
                weight = torch.where(alive, discount ** (t + 1), weight)
            if pred.valid is good and pred.terminated is going and not freeze:
                continue  # a model may hand out the same flags at each step
            good, going = pred.valid, pred.terminated
            if freeze or not (good.equal(everyone) and going.equal(nobody)):
                freeze = True
                ended = ended | (alive & pred.terminated)
                alive = alive & pred.valid & ~pred.terminated
        value = _discounted(rewards, discount)
        if terminal_value is not None:
            value = torch.where(ended, value, value + weight * terminal_value(obs))
        values.append(value.view(num_particles, num_envs, k))
        if with_uncertainty:
            doubt = _discounted(uncertainties, discount)
            doubts.append(doubt.view(num_particles, num_envs, k))
    return Returns(_joined(values), _joined(doubts) if with_uncertainty else None)


def _joined(parts: list[Tensor]) -> Tensor:
    """Join the candidates of all chunks (P, E, k) and average over particles: (E, K)."""
    whole = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
    return whole.mean(0) if whole.shape[0] > 1 else whole[0]


def _discounted(steps: list[Tensor], discount: float) -> Tensor:
    """Sum what T steps pay (B,), step t weighted by discount^t: (B,)."""
    paid = torch.stack(steps)
    if discount != 1:
        time = torch.arange(len(steps), dtype=paid.dtype, device=paid.device)
        paid = paid * (discount**time)[:, None]
    return paid.sum(0)


def _at(seen: Prediction, t: int) -> Prediction:
    """Take step t of a prediction of whole sequences (B, T, ...)."""
    return Prediction(
        seen.next_obs[:, t], seen.reward[:, t], seen.terminated[:, t], seen.valid[:, t], None
    )


def _keep(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take new where mask (B,) holds, old elsewhere; tensors are (B, ...)."""
    return torch.where(mask.view(-1, *([1] * (new.dim() - 1))), new, old)
