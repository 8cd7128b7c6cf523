"""Dataset in memory: transitions, their origin, and the scale of their returns."""

from __future__ import annotations

import hashlib
import logging
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.task_check import TaskCheck
from mbrl.types import ActionSpec, Task, Transitions

_log = logging.getLogger(__name__)


class Dataset(NamedTuple):
    """Transitions with their origin and the scale of their returns."""

    data: Transitions  # rows of an episode together, in time order
    id: str  # name of a Minari dataset, or path of a file
    digest: str  # SHA-256 of the transitions, however they are stored
    action: ActionSpec  # the actions of its environment
    ref_min: float | None = None  # return of a random policy, normalized score 0
    ref_max: float | None = None  # return of the reference policy, normalized score 100
    env: str | None = None  # of the environment it was collected in
    # a terminal whose successor was not recorded has its obs as next_obs
    recorded: Tensor | None = None  # (B,) bool: where it was; None: everywhere
    file_returns: Tensor | None = None  # (num_episodes,) float64, of all steps, also those not kept

    def normalized(self, returns: float) -> float:
        """Scale a return so that the random policy's is 0 and the reference's 100.

        Args:
            returns: undiscounted return of an episode, or a mean of them.

        Raises:
            BadInput: if the dataset has no reference returns.
        """
        if self.ref_min is None or self.ref_max is None or self.ref_max == self.ref_min:
            raise BadInput(
                f"dataset={self.id}: has no reference returns (ref_min_score, ref_max_score), so "
                "that scores cannot be normalized"
            )
        return 100 * (returns - self.ref_min) / (self.ref_max - self.ref_min)

    def score(self, returns: float) -> float | None:
        """Return the normalized score of a return, None without reference returns.

        Args:
            returns: as in normalized.
        """
        has_scale = self.ref_min is not None and self.ref_max not in (None, self.ref_min)
        return self.normalized(returns) if has_scale else None

    def known(self) -> Transitions:
        """Return the rows whose successor was recorded: what models are fitted to."""
        return self.data if self.recorded is None else self.data.select(self.recorded)

    def returns(self) -> Tensor:
        """Compute the return of each episode (num_episodes,), in the order of their numbers."""
        if self.file_returns is not None:
            return self.file_returns
        _, number = torch.unique(self.data.episode, return_inverse=True)
        total = torch.zeros(int(number.max()) + 1, dtype=torch.float64, device=number.device)
        return total.index_add(0, number, self.data.reward.double())


def content_hash(data: Transitions) -> str:
    """Compute a hash of transitions (B, ...), rows of an episode together.

    Args:
        data: the transitions; the numbers of their episodes do not matter.

    Returns:
        SHA-256, hexadecimal.

    Raises:
        BadInput: naming the field that is wrong.
    """
    data = data.validated()
    _, number = torch.unique_consecutive(data.episode, return_inverse=True)
    digest = hashlib.sha256()
    for name, part in zip(data._fields, data._replace(episode=number), strict=True):
        kind = torch.float32 if part.is_floating_point() else torch.int64
        array = part.to("cpu", kind).contiguous().numpy()
        digest.update(f"{name} {tuple(array.shape)}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def check_spaces(
    id: str, data: Transitions, have: ActionSpec, obs_dim: int | None, action: ActionSpec | None
) -> None:
    """Check that data are of an environment; warn of actions outside its bounds.

    Args:
        id: of the dataset.
        data: its transitions.
        have: its actions.
        obs_dim: the length that observations must have, None for any.
        action: the actions that it must hold, None for any.

    Raises:
        BadInput: if not, naming both.
    """
    remedy = "choose the environment that it was collected in"
    own_dim = data.obs.shape[1]
    if obs_dim is not None and own_dim != obs_dim:
        raise BadInput(
            f"dataset={id}: observations of {own_dim} numbers, but the environment's have "
            f"{obs_dim}; {remedy}"
        )
    if action is not None and (have.kind, have.dim) != (action.kind, action.dim):
        raise BadInput(
            f"dataset={id}: {have.kind} actions of {have.dim} numbers, but the environment's are "
            f"{action.kind} of {action.dim}; {remedy}"
        )

    if action is not None and action.kind == "continuous":
        report_outside(id, "actions", data.action, action.low, action.high)


def report_outside(id: str, name: str, values: Tensor, low: Tensor, high: Tensor) -> None:
    """Warn of the share of values outside of a space, and of the component that is outside most.

    Args:
        id: of the dataset.
        name: of the values, in the plural.
        values: (B, dim).
        low: (dim,) lower bounds, may be infinite.
        high: (dim,) upper bounds.
    """
    low, high = (end.to("cpu", torch.float64) for end in (low, high))
    numbers = values.to("cpu", torch.float64)
    # what float32 may round: not more than one digit of the bound or of the value
    room = torch.finfo(torch.float32).eps * numbers.abs()
    outside = (numbers < low - room) | (numbers > high + room)
    if not outside.any():
        return
    worst = int(outside.sum(0).argmax())
    column = numbers[outside[:, worst], worst]
    extreme = column[(column - column.clamp(low[worst], high[worst])).abs().argmax()]
    _log.warning(
        "dataset %s: %.3g%% of the %s are outside of the space; component %d should be in "
        "[%g, %g], and one is %g",
        id,
        100 * outside.any(1).double().mean(),
        name,
        worst,
        low[worst],
        high[worst],
        extreme,
    )


def check_known(dataset: Dataset, task: Task) -> None:
    """Check what is known of an environment against the first rows of a dataset, 1,000 of a kind.

    Where an episode was cut by its time limit, files do not say whether it would have terminated
    as well, so that the known end is not checked in these rows; the known reward is.

    Args:
        dataset: of the environment.
        task: what is known of it.

    Raises:
        BadInput: naming the function, what it gives and what the dataset holds, and where.
    """
    data = dataset.data
    recorded = torch.ones_like(data.terminated) if dataset.recorded is None else dataset.recorded
    last = torch.ones_like(data.terminated)
    last[:-1] = data.episode[1:] != data.episode[:-1]
    is_cut = ~data.terminated & (last | data.truncated)
    for part, is_in in ((task, ~is_cut), (task._replace(terminated=None), is_cut)):
        rows = torch.nonzero(recorded.to(is_cut) & is_in)[:1000, 0]
        if len(rows):
            try:
                check = TaskCheck(part, data.obs.shape[1], unit="row")
                check.add(data.select(rows), rows=rows.tolist(), last=True)
            except BadInput as error:
                raise BadInput(f"dataset={dataset.id}: {error}") from None


def line_of(error: Exception) -> str:
    """Return an exception as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def episodes(data: Transitions) -> list[Transitions]:
    """Split transitions (B, ...) into episodes, each in time order, by number of episode."""
    order = torch.sort(data.episode, stable=True).indices
    sizes = torch.unique(data.episode, return_counts=True)[1].tolist()
    parts = zip(*(part[order].split(sizes) for part in data), strict=True)
    return [Transitions(*each) for each in parts]


def join(parts: list[Transitions]) -> Transitions:
    """Concatenate whole episodes, numbered from 0."""
    sizes = torch.tensor([len(part.reward) for part in parts])
    numbers = torch.arange(len(parts)).repeat_interleave(sizes)
    whole = Transitions(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
    return whole._replace(episode=numbers.to(whole.episode.device))
