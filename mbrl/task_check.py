"""Check of what is known of an environment against what it does: names, angles, reward, end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.types import Task, TaskFunction, Transitions

_FIRST = 20  # rows before the first check, so that the scale of the rewards is known
_LATER = 500  # rows between checks, once 1000 were right
_ROUNDING = 5e-7  # relative, of numbers that were stored as float32
_VARIANTS = 8  # of the rounding that are tried
_OFF_CIRCLE = 0.1  # that the squares of a cosine and a sine may add up to beside 1


def check_task(task: Any, obs_dim: int) -> Task:
    """Return a Task whose names and indices fit an environment; an empty one for None.

    Args:
        task: what is known of the environment.
        obs_dim: length of its observations.

    Raises:
        BadInput: naming the field that does not fit, and what would.
    """
    if task is None:
        return Task()
    if not isinstance(task, Task):
        raise BadInput(
            f"task: a {type(task).__name__} should be an mbrl.types.Task; in YAML, the _target_ of "
            "a function that returns one"
        )
    names = task.obs_names
    if names is not None and len(names) != obs_dim:
        raise BadInput(
            f"task.obs_names: {len(names)} names, {_shown(names)}, should be {obs_dim}, one for "
            "each component of an observation"
        )
    for field in ("angle_pairs", "positions"):
        for pair in getattr(task, field):
            if len(pair) != 2 or not all(0 <= index < obs_dim for index in pair):
                raise BadInput(
                    f"task.{field}: {tuple(pair)} should be two indices below obs_dim={obs_dim}"
                )
    return task


@final
class TaskCheck:
    """Check of a Task against real transitions, block by block.

    The known reward must agree with the environment's up to task.tolerance times the largest
    reward so far, and up to float32 rounding of what it is computed from. The known end must agree
    in every row.

    Args:
        task: what is known of the environment.
        obs_dim: length of its observations.
        unit: what an index into the rows of add() names, such as "environment" or "row".

    Raises:
        BadInput: if the names or indices do not fit the length of an observation.
    """

    def __init__(self, task: Task, obs_dim: int, *, unit: str = "environment"):
        """Start without rows."""
        self._task = check_task(task, obs_dim)
        self._unit = unit
        self._pending: list[tuple[Transitions, int | None, list[int]]] = []
        self._num_pending = self._num_checked = 0
        self._scale = 0.0

    def add(
        self,
        data: Transitions,
        step: int | None = None,
        *,
        rows: Sequence[int] | None = None,
        last: bool = False,
    ) -> None:
        """Add transitions and check them, as soon as there are enough.

        Args:
            data: (B, ...), a row for each environment.
            step: number of their step, for the message; None where rows have none.
            rows: (B,) numbers of the rows, for the message; None for 0 to B - 1.
            last: check them in any case.

        Raises:
            BadInput: if what is known contradicts them; see check.
        """
        task = self._task
        if task.reward is None and task.terminated is None and not task.angle_pairs:
            return
        size = data.reward.shape[0]
        self._pending.append((data, step, list(range(size) if rows is None else rows)))
        self._num_pending += size
        if last or self._num_pending >= (_FIRST if self._num_checked < 1000 else _LATER):
            self.check()

    @torch.no_grad()
    def check(self) -> None:
        """Check the rows that were added since the last check.

        Raises:
            BadInput: naming the function, what was expected, what came, where, and what to set.
        """
        if not self._pending:
            return
        parts, self._pending = self._pending, []
        data = Transitions.concatenate([each for each, _, _ in parts])
        places = [
            f"{self._unit} {row}" + ("" if step is None else f", step {step}")
            for _, step, rows in parts
            for row in rows
        ]
        self._num_checked += self._num_pending
        self._num_pending = 0
        self._check_angles(data, places)
        self._check_terminated(data, places)
        self._check_reward(data, places)

    def _check_angles(self, data: Transitions, places: list[str]) -> None:
        """Check that the pairs of cosine and sine are on the unit circle."""
        for cos, sin in self._task.angle_pairs:
            radius = data.next_obs[:, cos].square() + data.next_obs[:, sin].square()
            row = _first((radius - 1).abs() > _OFF_CIRCLE)
            if row is not None:
                raise BadInput(
                    f"task.angle_pairs: {(cos, sin)}: the squares of these two components add up "
                    f"to {radius[row]:.6g} ({places[row]}), those of a cosine and a sine to 1; "
                    "remove the pair, or name the right components"
                )

    def _check_terminated(self, data: Transitions, places: list[str]) -> None:
        """Check where the known end says that an episode terminates."""
        function = self._task.terminated
        if function is None:
            return
        known = _evaluate("terminated", function, data)
        if known.dtype != torch.bool:
            raise BadInput(f"{_named('terminated', function)}: {known.dtype} should be torch.bool")
        rows = known != data.terminated
        if rows.any():
            for variant in _rounded(data):
                rows &= _evaluate("terminated", function, variant) != data.terminated
        row = _first(rows)
        if row is not None:
            raise BadInput(
                f"{_named('terminated', function)}: it is {known[row].item()} where the "
                f"environment gave terminated={data.terminated[row].item()} ({places[row]}); "
                "mend the function, or set terminated=None"
            )

    def _check_reward(self, data: Transitions, places: list[str]) -> None:
        """Check the known reward."""
        function = self._task.reward
        if function is None:
            return
        known = _evaluate("reward", function, data)
        least = most = known
        finite = torch.cat([data.reward, known[torch.isfinite(known)]])
        self._scale = max(self._scale, finite.abs().max().item())
        tolerance = self._task.tolerance * self._scale

        def wrong() -> Tensor:
            inside = (data.reward >= least - tolerance) & (data.reward <= most + tolerance)
            return ~inside  # also where the known reward is a NaN

        if wrong().any():
            for variant in _rounded(data):
                value = _evaluate("reward", function, variant)
                least, most = torch.minimum(least, value), torch.maximum(most, value)
        row = _first(wrong())
        if row is None:
            return
        raise BadInput(
            f"{_named('reward', function)}: it is {known[row]:.6g} where the environment gave "
            f"{data.reward[row]:.6g} ({places[row]}); mend the function, set reward=None to learn "
            f"it, or, of an environment whose rewards are noisy, raise tolerance="
            f"{self._task.tolerance:g}"
        )


def _evaluate(name: str, function: TaskFunction, data: Transitions) -> Tensor:
    """Evaluate a function of a Task: (B,).

    Raises:
        BadInput: if it raises, or returns another shape.
    """
    try:
        value = function(data.obs, data.action, data.next_obs)
    except Exception as error:
        raise BadInput(
            f"{_named(name, function)}: raised {type(error).__name__}: {error}"
        ) from error
    right = data.reward.shape
    if not isinstance(value, Tensor) or value.shape != right:
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise BadInput(
            f"{_named(name, function)}: it returned {what} for {right[0]} rows; should be a tensor "
            f"of shape {tuple(right)}"
        )
    return value.detach()


def _rounded(data: Transitions) -> list[Transitions]:
    """Return variants of transitions (B, ...) that float32 rounding could have made of others."""
    generator = torch.Generator().manual_seed(0)

    def moved(x: Tensor) -> Tensor:
        signs = torch.randint(2, x.shape, generator=generator) * 2 - 1
        return x * (1 + _ROUNDING * signs.to(x))

    return [
        data._replace(obs=moved(data.obs), next_obs=moved(data.next_obs)) for _ in range(_VARIANTS)
    ]


def _named(name: str, function: TaskFunction) -> str:
    """Return a field of a Task with the name of its function."""
    known = getattr(function, "__qualname__", type(function).__qualname__)
    return f"task.{name} ({known})"


def _shown(names: tuple[str, ...]) -> str:
    """Return the first few names."""
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")


def _first(rows: Tensor) -> int | None:
    """Return the first index where rows (B,) holds, None if nowhere."""
    indices = torch.nonzero(rows)
    return int(indices[0]) if len(indices) else None
