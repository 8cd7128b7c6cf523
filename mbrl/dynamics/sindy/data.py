"""Data of sparse regressions: usable rows, held-out blocks, motion of positions and angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mbrl.dynamics.sindy.fit import Problem
from mbrl.dynamics.sindy.library import Library
from mbrl.errors import BadInput, NumericalFault
from mbrl.types import Transitions

Limit = tuple[int, float, float]  # observation, low, high


def read_limits(limits: dict[str, Any], names: list[str], key: str) -> list[Limit]:
    """Return the limits of a mapping name -> [low, high].

    Args:
        limits: of observations.
        names: of all observations.
        key: name of the parameter, for messages.

    Raises:
        BadInput: for an unknown name, or limits that are not two rising numbers.
    """
    indexed = []
    for name, span in limits.items():
        if name not in names:
            raise BadInput(
                f"{key}.{name}: no such observation; should be one of {', '.join(names)}"
            )
        if not (isinstance(span, list | tuple) and len(span) == 2 and span[0] < span[1]):
            raise BadInput(f"{key}.{name}={span}: should be [low, high]")
        indexed.append((names.index(name), float(span[0]), float(span[1])))
    return indexed


def usable(data: Transitions, limits: list[Limit], dtype: torch.dtype) -> Transitions:
    """Return the rows within limits, numbers in a dtype; a row left out cuts its episode in two.

    Raises:
        NumericalFault: if an observation, action or reward is not finite.
    """
    named = {"obs": data.obs, "action": data.action, "next_obs": data.next_obs}
    for name, value in {**named, "reward": data.reward[:, None]}.items():
        bad = torch.nonzero(~torch.isfinite(value))
        if bad.shape[0]:
            row, column = bad[0].tolist()
            raise NumericalFault(f"data: {name}[{column}] of row {row} is not finite")
    keep = torch.ones_like(data.terminated)
    for column, low, high in limits:
        for value in (data.obs[:, column], data.next_obs[:, column]):
            keep = keep & (value >= low) & (value <= high)
    gaps = torch.zeros_like(data.episode)
    order = torch.sort(data.episode, stable=True).indices
    gaps[order] = torch.cumsum(~keep[order], 0)
    part = cut_at_gaps(
        Transitions(
            *(x[keep] for x in data._replace(episode=data.episode * (keep.shape[0] + 1) + gaps))
        )
    )
    numbers = {"obs": part.obs, "action": part.action, "next_obs": part.next_obs}
    numbers["reward"] = part.reward
    return part._replace(**{name: value.to(dtype) for name, value in numbers.items()})


def cut_at_gaps(data: Transitions) -> Transitions:
    """Return transitions (B, ...) with an episode cut in two where a step does not follow.

    A step follows the one before it where it starts at its next observation, up to a thousandth of
    the usual change.
    """
    episode, order = torch.sort(data.episode, stable=True)
    change = (data.next_obs - data.obs).square().mean(0).sqrt()
    apart = (data.obs[order[1:]] - data.next_obs[order[:-1]]).abs() > 1e-3 * change
    new = torch.ones_like(episode)
    new[1:] = (apart.any(1) | (episode[1:] != episode[:-1])).long()
    numbers = torch.empty_like(episode)
    numbers[order] = new.cumsum(0)
    return data._replace(episode=numbers)


def hold_out(data: Transitions, horizon: int) -> tuple[Tensor, Tensor]:
    """Split rows: every fifth block of consecutive rows of an episode is held out.

    What is left at the end of an episode, or a short one, is a block of its own.

    Returns:
        Rows of the whole blocks held out (K, H), where H is horizon, or less for few rows and short
        episodes; which rows (B,) bool are for training.
    """
    episode, order = torch.sort(data.episode, stable=True)
    rows = episode.shape[0]
    _, lengths = torch.unique_consecutive(episode, return_counts=True)
    length = max(1, min(horizon, rows // 10, int(lengths.max())))
    place = torch.arange(rows, device=order.device)
    place = place - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)  # in its episode
    block = (place % length == 0).long().cumsum(0) - 1  # (B,) number of each row's block
    begins = torch.nonzero(place % length == 0)[:, 0]
    whole = torch.bincount(block) == length
    held = torch.arange(len(begins), device=order.device) % 5 == 4
    if not (held & whole).any():
        held[torch.nonzero(whole)[-1]] = True
    steps = torch.arange(length, device=order.device)
    train = torch.ones(rows, dtype=torch.bool, device=order.device)
    train[order[held[block]]] = False
    return order[begins[held & whole][:, None] + steps], train


def motion_problem(
    data: Transitions,
    library: Library,
    positions: tuple[tuple[int, int], ...],
    angles: tuple[tuple[int, int], ...],
    velocities: Sequence[int],
) -> Problem:
    """Return the regression of positions' moves and angles' turns on velocities, old and new.

    Args:
        data: transitions (B, ...).
        library: single variables of [obs, action, next_obs].
        positions: (position, velocity): each is moved by its own velocity.
        angles: (cos, sin): each is turned by the velocities that fit.
        velocities: observations that may turn angles.
    """
    n = data.obs.shape[1] + data.action.shape[1]
    may_turn = {i for v in velocities for i in (v, n + v)}
    moves = [data.next_obs[:, p] - data.obs[:, p] for p, _ in positions]
    allowed = [[term.variables[0] in (v, n + v) for term in library] for _, v in positions]
    for c, s in angles:
        (x, y), (x2, y2) = ((o[:, c], o[:, s]) for o in (data.obs, data.next_obs))
        moves.append(torch.atan2(y2 * x - x2 * y, x2 * x + y2 * y))
        allowed.append([term.variables[0] in may_turn for term in library])
    columns = [*data.obs.T, *data.action.T, *data.next_obs.T]
    mask = torch.tensor(allowed, device=data.obs.device)
    return Problem(library.evaluate(columns), torch.stack(moves, 1), mask)
