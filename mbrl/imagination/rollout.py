"""The one imagined rollout: the return of action sequences in a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.roles import ActionSelector
from mbrl.types import Prediction, map_tensors

_CERTAIN = "this model knows no uncertainty of its predictions; dynamics=ensemble or sindy do"


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
