"""The one loop that steps a model: `imagine`, and on it `rollout`, which scores action sequences.

    for step in imagine(model, state, policy, num_steps=200, hold=4, generator=generator):
        total = total + torch.where(step.alive, step.prediction.reward, 0)

Everything that rolls a model out stands on `imagine`: planners, branched rollouts, the model as an
environment, distillation, and open-loop errors against recorded actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.inputs import belief_rows
from mbrl.nn.products import products_for
from mbrl.roles import ActionSelector, Model, SimulatesSequences, has_ability
from mbrl.types import Prediction, State, as_numbers, map_tensors, read_waits, where_rows

# index of a decision, and obs (B, obs_dim) there -> actions (B, act_dim)
Act = Callable[[int, Tensor], Tensor]


class ImaginedStep(NamedTuple, Generic[State]):
    """One step of B rows in a model. Rows that have ended before it stand still."""

    obs: Tensor  # (B, obs_dim) before the step
    action: Tensor  # (B, act_dim)
    prediction: Prediction  # of rows that have ended, without meaning: use `alive`
    alive: Tensor  # (B,) bool: no step before this one terminated or was invalid
    all_alive: bool  # whether `alive` is known to hold for all rows
    next_obs: Tensor  # (B, obs_dim) after the step; where a row has ended, its last observation
    state: State  # of the model after the step; where a row has ended, its last state

    def still_alive(self) -> Tensor:
        """Return which rows (B,) take part in the next step."""
        return self.alive & self.prediction.valid & ~self.prediction.terminated


def imagine(
    model: Model[State],
    state: State,
    obs: Tensor,
    act: Act | tuple[Tensor, ...],
    num_steps: int,
    *,
    hold: int = 1,
    generator: torch.Generator | None = None,
    with_uncertainty: bool = False,
    until_end: bool = True,
) -> Iterator[ImaginedStep[State]]:
    """Step a model, and freeze each row after it terminates or leaves where the model is valid.

    Shapes are fixed and nothing is synchronized, so that it can be captured as a CUDA graph. On the
    CPU rows are frozen, at some cost, only after the first one has ended.

    Args:
        model: the model.
        state: its state of B rows.
        obs: observations (B, obs_dim) there.
        act: called with the index of each decision and the observations there; or the actions
            (B, act_dim) of each decision.
        num_steps: steps of the model; a caller may stop earlier.
        hold: steps for which each action is held.
        generator: source of the model's noise; None for its mean prediction.
        with_uncertainty: whether the model also predicts its uncertainty.
        until_end: whether rows are frozen where they end; otherwise all go on.

    Yields:
        One ImaginedStep for each step.
    """
    everyone = torch.ones(obs.shape[0], dtype=torch.bool, device=obs.device)
    alive, all_alive, nobody = everyone, not read_waits(everyone), ~everyone
    valid = terminated = None  # flags known to be True, and False, in all rows
    action = obs
    for t in range(num_steps):
        if t % hold == 0:
            action = act[t // hold] if isinstance(act, tuple) else act(t // hold, obs)
        following, prediction = model.step(
            state, action, generator=generator, with_uncertainty=with_uncertainty
        )
        next_obs = prediction.next_obs
        if t and not all_alive:
            following = where_rows(alive, following, state)
            next_obs = where_rows(alive, next_obs, obs)
        step = ImaginedStep(obs, action, prediction, alive, all_alive, next_obs, following)
        yield step
        state, obs = following, next_obs
        if not until_end:
            continue
        if all_alive:
            if prediction.valid is valid and prediction.terminated is terminated:
                continue  # a model may return the same flags at each step
            valid, terminated = prediction.valid, prediction.terminated
            all_alive = valid.equal(everyone) and terminated.equal(nobody)
        if not all_alive:
            alive = step.still_alive()


class Returns(NamedTuple):
    """Returns of action sequences, averaged over particles, or over the worst of them."""

    value: Tensor  # (E, K) discounted rewards, plus the terminal value if one is given
    uncertainty: Tensor | None  # (E, K) discounted uncertainty; None unless asked for


def rollout(
    model: Model[State],
    state: State,
    actions: Tensor,
    *,
    num_particles: int = 1,
    risk: float | None = None,
    generator: torch.Generator | None = None,
    discount: float = 1.0,
    hold: int = 1,
    policy: ActionSelector | None = None,
    policy_generator: torch.Generator | None = None,
    horizon: int | None = None,
    terminal_value: Callable[[Tensor], Tensor] | None = None,
    with_uncertainty: bool = False,
    chunk: int = 4096,
) -> Returns:
    """Compute the returns of K action sequences in each of E environments.

    A row earns nothing after a predicted termination or an invalid step. The terminal value is
    added in all rows but the terminated ones.

    Args:
        model: the model; one that SimulatesSequences predicts whole sequences at once.
        state: its state, num_particles * E rows, particle by particle.
        actions: (E, K, H, act_dim) in environment units.
        num_particles: P, rows of the state per environment.
        risk: share of the worst particles, over which values are averaged instead of all: the
            conditional value at risk (Rockafellar and Uryasev, Journal of Risk 2000).
        generator: source of the model's noise; None for its mean prediction.
        discount: per model step.
        hold: model steps for which each action is held.
        policy: acts after the given actions, until horizon.
        policy_generator: source of the policy's draws; by default generator.
        horizon: decisions in all; by default H.
        terminal_value: obs (B, obs_dim) -> (B,), of the last observations.
        with_uncertainty: whether the model's uncertainty is summed as well.
        chunk: rows evaluated at once, so that they stay in the cache.

    Returns:
        Values (E, K), and uncertainties (E, K) if asked for.

    Raises:
        BadInput: if the model predicts no uncertainty, but it is asked for.
    """
    actions = as_numbers("actions", actions, ("E", "K", "H", "act_dim")).float()
    num_envs, num_candidates, given, act_dim = actions.shape
    rows, device = belief_rows(state)
    if num_envs * num_particles != rows or actions.device != device:
        shape = f"shape {tuple(actions.shape)} on {actions.device}"
        raise BadInput(
            f"actions: {shape} should be on {device}, of {rows / num_particles:g} environments"
        )
    num_steps = (given if horizon is None else horizon) * hold
    size = max(1, chunk // (num_particles * num_envs))
    values, uncertainties = [], []
    for part in actions.split(size, dim=1) if size < num_candidates else (actions,):
        k = part.shape[1]
        # time leads, so that the actions of one step stand together in memory
        by_time = part.expand(num_particles, *part.shape).permute(3, 0, 1, 2, 4)
        by_time = by_time.reshape(given, -1, act_dim)  # (H, B, act_dim)
        act: Act | tuple[Tensor, ...] = by_time.unbind()
        if policy is not None:
            act = _plan_then_policy(by_time.unbind(), policy, policy_generator or generator)
        tiled: Any = map_tensors(lambda x, k=k: _repeat_rows(x, k), state)
        stepped: Any = model
        if policy is None and not with_uncertainty and has_ability(model, SimulatesSequences):
            held = by_time.transpose(0, 1).repeat_interleave(hold, dim=1)
            stepped, tiled = _Simulated(model.simulate(tiled, held)), 0
        first = by_time.new_empty(by_time.shape[1], 0)  # observations that nobody acts on
        steps = imagine(
            stepped, tiled, first, act, num_steps,
            hold=hold, generator=generator, with_uncertainty=with_uncertainty,
        )  # fmt: skip
        with products_for(by_time.shape[1]):
            value, uncertainty = _sum_up(steps, discount, terminal_value, with_uncertainty)
        values.append(value.view(num_particles, num_envs, k))
        if uncertainty is not None:
            uncertainties.append(uncertainty.view(num_particles, num_envs, k))
    return Returns(_join(values, risk), _join(uncertainties) if with_uncertainty else None)


def _repeat_rows(x: Tensor, num: int) -> Tensor:
    """Return each row of x (B, ...) num times, one behind the other."""
    return x.unsqueeze(1).expand(-1, num, *x.shape[1:]).flatten(0, 1)


def _plan_then_policy(given: tuple[Tensor, ...], policy: ActionSelector, generator: Any) -> Act:
    """Return the Act of H given actions (B, act_dim), and of a policy after them."""

    def act(index: int, obs: Tensor) -> Tensor:
        if index < len(given):
            return given[index]
        return policy.select(obs, generator=generator)

    return act


def _sum_up(
    steps: Iterator[ImaginedStep[Any]],
    discount: float,
    terminal_value: Callable[[Tensor], Tensor] | None,
    with_uncertainty: bool,
) -> tuple[Tensor, Tensor | None]:
    """Compute the value (B,) and the uncertainty (B,) of imagined steps."""
    rewards, uncertainties = [], []
    weight: Any = 1.0  # (B,) of the terminal value
    terminated: Any = False  # (B,) such rows have no terminal value
    obs: Any = None
    for t, step in enumerate(steps):
        pred = step.prediction
        rewards.append(pred.reward if step.all_alive else torch.where(step.alive, pred.reward, 0))
        if with_uncertainty:
            uncertainty = pred.uncertainty
            if uncertainty is None:
                raise BadInput("this model predicts no uncertainty; an ensemble or SINDy does")
            if not step.all_alive:
                uncertainty = torch.where(step.alive, uncertainty, 0)
            uncertainties.append(uncertainty)
        if terminal_value is not None:
            weight = torch.where(step.alive, discount ** (t + 1), weight)
            terminated = terminated | (step.alive & pred.terminated)
            obs = step.next_obs
    value = _discounted_sum(rewards, discount)
    if terminal_value is not None:
        value = torch.where(terminated, value, value + weight * terminal_value(obs))
    return value, _discounted_sum(uncertainties, discount) if with_uncertainty else None


class _Simulated:
    """Model that replays a prediction of whole sequences (B, T, ...); its state is the step."""

    def __init__(self, sequences: Prediction):
        self._sequences = sequences

    def step(self, state: int, action: Tensor, **options: Any) -> tuple[int, Prediction]:
        """Return the prediction of the next step."""
        next_obs, reward, terminated, valid, _ = self._sequences
        t = state
        at = Prediction(next_obs[:, t], reward[:, t], terminated[:, t], valid[:, t], None)
        return t + 1, at


def _join(parts: list[Tensor], risk: float | None = None) -> Tensor:
    """Join candidates of all chunks (P, E, k), average over particles or the worst: (E, K)."""
    whole = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
    num_particles = whole.shape[0]
    if num_particles == 1:
        return whole[0]
    if risk is None:
        return whole.mean(0)
    counted = risk * num_particles  # the last one may count in part
    worst = whole.sort(0).values[: math.ceil(counted - 1e-9)]
    number = torch.arange(len(worst), dtype=whole.dtype, device=whole.device)
    weight = (counted - number).clamp(max=1.0) / counted
    return torch.tensordot(weight, worst, 1)


def _discounted_sum(steps: list[Tensor], discount: float) -> Tensor:
    """Sum T steps (B,), step t weighted by discount^t: (B,)."""
    rows = torch.stack(steps)
    if discount == 1:
        return rows.sum(0)
    return rows.new_tensor([discount**t for t in range(len(steps))]) @ rows
