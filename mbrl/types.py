"""Glossary of shapes: what flows between environments, models, planners and agents.

B is a batch, E the environments, K the candidates, H the horizon; tensors are batch first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.values import Count, check_value

if TYPE_CHECKING:
    from mbrl.relu import PiecewiseLinearCost

State = TypeVar("State")  # a model's belief: a tensor, or a (named) tuple of tensors, batch first


class StepOutcome(Protocol):
    """What E environments return of one step; mbrl.roles.VecStep has it."""

    @property
    def next_obs(self) -> Tensor:
        """Return the true successors (E, obs_dim)."""
        ...

    @property
    def reward(self) -> Tensor:
        """Return the rewards (E,)."""
        ...

    @property
    def terminated(self) -> Tensor:
        """Return where the task ended (E,), bool."""
        ...

    @property
    def truncated(self) -> Tensor:
        """Return where the episode was cut off (E,), bool."""
        ...


class Transitions(NamedTuple):
    """Batch of environment transitions.

    From arrays of one's own: `Transitions.from_arrays(obs, action, next_obs, reward)`.
    """

    obs: Tensor  # (B, obs_dim)
    action: Tensor  # (B, act_dim) in environment units; discrete actions one-hot
    reward: Tensor  # (B,)
    next_obs: Tensor  # (B, obs_dim) the true successor, never the reset observation
    terminated: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool; truncation bootstraps, termination does not
    episode: Tensor  # (B,) int64, so that sequences can be cut

    @classmethod
    def from_arrays(
        cls,
        obs: Any,
        action: Any,
        next_obs: Any,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        episode: Any = None,
        *,
        device: torch.device | str | None = None,
    ) -> Transitions:
        """Convert arrays, tensors or lists; numbers become float32.

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).
            next_obs: (B, obs_dim), the true successors.
            reward: (B,); None is 0 everywhere.
            terminated: (B,); None is nowhere.
            truncated: (B,); None is nowhere.
            episode: (B,) whole numbers; None begins a new one behind each end.
            device: of the tensors; None leaves them where they are.

        Raises:
            BadInput: naming the argument whose shape or kind is wrong.
        """

        def there(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.detach() if value.requires_grad else value
            return value if device is None else value.to(device)

        obs = there(obs)
        obs = as_rows("obs", obs, device=device, finite=True)
        count, width = obs.shape
        of_obs: dict[str, Any] = {"num_rows": count, "device": obs.device, "finite": True}
        action = as_rows("action", there(action), **of_obs)
        next_obs = as_rows("next_obs", there(next_obs), width=width, **of_obs)

        def column(name: str, value: Any, dtype: torch.dtype) -> Tensor:
            if value is None:
                return torch.zeros(count, dtype=dtype, device=obs.device)
            tensor = _as_tensor(name, there(value), obs.device)
            if tensor.shape != (count,):
                shape = tuple(tensor.shape)
                raise BadInput(f"{name}: shape {shape} should be ({count},), as obs has rows")
            check_finite(name, tensor)
            return tensor.to(dtype)

        ended = column("terminated", terminated, torch.bool)
        cut_off = column("truncated", truncated, torch.bool)
        if episode is None:
            done = (ended | cut_off).long()
            episode = done.cumsum(0) - done
        numbers = column("episode", episode, torch.int64)
        rewards = column("reward", reward, torch.float32)
        return cls(obs, action, rewards, next_obs, ended, cut_off, numbers)

    def validated(
        self,
        *,
        obs_dim: int | None = None,
        act_dim: int | None = None,
        device: torch.device | None = None,
    ) -> Transitions:
        """Return the same transitions as float32 tensors, unchanged where they are already.

        Args:
            obs_dim: length that observations must have, None for any.
            act_dim: length that actions must have, None for any.
            device: where they must be; None: anywhere.

        Raises:
            BadInput: naming the field that is missing, or whose shape, kind, device or numbers are
                wrong.
        """
        for name in ("reward", "terminated", "truncated", "episode"):
            if getattr(self, name) is None:
                raise BadInput(f"{name}: None should be an array or a tensor of numbers")
        as_rows("obs", self.obs, width=obs_dim, device=device)
        as_rows("action", self.action, width=act_dim)
        ends = (self.terminated, self.truncated)
        return self.from_arrays(
            self.obs, self.action, self.next_obs, self.reward, *ends, self.episode
        )

    @classmethod
    def of_step(
        cls, obs: Tensor, action: Tensor, step: StepOutcome, episode: Tensor
    ) -> Transitions:
        """Return the transitions of one step of E environments.

        Args:
            obs: (E, obs_dim), before the step.
            action: (E, act_dim).
            step: what came of it.
            episode: (E,) number of each running episode, int64.
        """
        ends = (step.terminated, step.truncated)
        return cls(obs, action, step.reward, step.next_obs, *ends, episode)

    @classmethod
    def concatenate(cls, parts: Sequence[Transitions]) -> Transitions:
        """Return the rows of several batches, one behind the other.

        Args:
            parts: transitions (B, ...) each.
        """
        return cls(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def select(self, rows: Tensor) -> Transitions:
        """Return some of the rows.

        Args:
            rows: (B,) bool, or indices (num_rows,).
        """
        return Transitions(*(column[rows] for column in self))


class Prediction(NamedTuple):
    """Prediction of one step by a model."""

    next_obs: Tensor  # (B, obs_dim)
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    valid: Tensor  # (B,) bool; False outside the validity region: truncate and bootstrap
    uncertainty: Tensor | None  # (B,) >= 0, scale-normalized epistemic; None unless asked for


TaskFunction = Callable[[Tensor, Tensor, Tensor], Tensor]  # (obs, action, next_obs) -> (B,)


class InteractionEdges(NamedTuple):
    """Edges of one kind between objects that act on each other, described by one shared network.

    The change of obs is the sum over edges e of outputs[e] @ f(inputs[e] @ [obs, action]).
    """

    inputs: Tensor  # (num_edges, num_inputs, obs_dim + act_dim)
    outputs: Tensor  # (num_edges, obs_dim, num_outputs)


class Task(NamedTuple):
    """Known parts of an environment; None = learn it.

    The functions take obs (B, obs_dim), action (B, act_dim), next_obs (B, obs_dim).
    """

    reward: TaskFunction | None = None  # -> (B,)
    terminated: TaskFunction | None = None  # -> (B,) bool
    obs_names: tuple[str, ...] | None = None
    angle_pairs: tuple[tuple[int, int], ...] = ()  # indices of (cos, sin)
    positions: tuple[tuple[int, int], ...] = ()  # indices of (position, its velocity)
    project: Callable[[Tensor], Tensor] | None = None  # (B, obs_dim) back onto the true manifold
    equations: dict[str, str] | None = (
        None  # left side -> right side, to compare sparse models with
    )
    cost: PiecewiseLinearCost | None = None  # minus the reward, for planners that ask for its form
    # what a cost may refer to beside obs, fixed when a plan begins
    anchors: Callable[[Tensor], Tensor] | None = None  # obs (B, obs_dim) -> (B, num_anchors)
    # by kind, where objects act on each other; () = all on all
    interaction_edges: tuple[InteractionEdges, ...] = ()
    # how far the known reward may be off, relative to the largest reward; more where it is noisy
    tolerance: float = 0.01


class ActionSpec(NamedTuple):
    """Actions that an environment takes: `ActionSpec.box(low, high)`, `ActionSpec.discrete(n)`."""

    kind: Literal["continuous", "discrete"]
    low: Tensor  # (act_dim,) zeros for discrete
    high: Tensor  # (act_dim,) ones for discrete
    num_actions: int = 0  # of a discrete space; act_dim = num_actions, one-hot

    @classmethod
    def box(cls, low: Any, high: Any, *, device: torch.device | str = "cpu") -> ActionSpec:
        """Return the continuous actions between two bounds.

        Args:
            low: (act_dim,) numbers, or one number for a single action.
            high: of the same shape.
            device: of the tensors.

        Raises:
            BadInput: if a bound is not finite, low is above high, or their shapes differ.
        """
        given = {"low": _as_tensor("low", low, device), "high": _as_tensor("high", high, device)}
        for name, bound in given.items():
            if bound.dim() > 1 or bound.shape != given["low"].shape or not bound.numel():
                shapes = f"{tuple(given['low'].shape)} and {tuple(given['high'].shape)}"
                raise BadInput(f"{name}: low and high of shapes {shapes} should be (act_dim,)")
        action = cls("continuous", given["low"].float().flatten(), given["high"].float().flatten())
        action.check_bounded()
        return action

    @classmethod
    def discrete(cls, num_actions: int, *, device: torch.device | str = "cpu") -> ActionSpec:
        """Return num_actions discrete actions, one-hot.

        Args:
            num_actions: how many.
            device: of the tensors.

        Raises:
            BadInput: if there is none.
        """
        check_value("num_actions", num_actions, Count, {})
        low = torch.zeros(num_actions, device=device)
        return cls("discrete", low, torch.ones_like(low), num_actions)

    def check_bounded(self) -> None:
        """Raise a BadInput that names the first component whose bounds are no finite interval.

        Raises:
            BadInput: if a bound is infinite or NaN, or low is above high.
        """
        for i, (low, high) in enumerate(zip(self.low.tolist(), self.high.tolist(), strict=True)):
            if not math.isfinite(high - low):
                raise BadInput(
                    f"action: component {i} has low={low:g} and high={high:g}: should be finite; "
                    "choose limits for it, as in ActionSpec.box(low, high)"
                )
            if low > high:
                raise BadInput(
                    f"action: component {i} has low={low:g} and high={high:g}: low should be at "
                    "most high"
                )

    @property
    def dim(self) -> int:
        """Return act_dim."""
        return self.low.shape[0]

    def sample(self, batch: int, *, generator: torch.Generator) -> Tensor:
        """Draw uniform actions (batch, act_dim); discrete ones come one-hot."""
        device = self.low.device
        if self.kind == "discrete":
            index = torch.randint(self.num_actions, (batch,), generator=generator, device=device)
            return torch.nn.functional.one_hot(index, self.num_actions).to(self.low.dtype)
        uniform = torch.rand(batch, self.dim, generator=generator, device=device)
        return self.clip(self.low + (self.high - self.low) * uniform)  # rounding may lead outside

    def clip(self, action: Tensor) -> Tensor:
        """Clip actions (..., act_dim) to the bounds.

        Raises:
            BadInput: if they are of another length.
        """
        action = _as_tensor("action", action, self.low.device)
        if action.shape[-1:] != self.low.shape:
            shape = tuple(action.shape)
            raise BadInput(f"action: shape {shape} should be (..., {self.dim}), as the bounds")
        return torch.minimum(torch.maximum(action, self.low), self.high)


def as_rows(
    name: str,
    value: Any,
    *,
    width: int | None = None,
    num_rows: int | None = None,
    device: torch.device | str | None = None,
    finite: bool = False,
) -> Tensor:
    """Return what a user gives as rows: a float32 tensor (B, width), B at least 1.

    A float32 tensor is returned as it is; arrays, lists and other number formats are converted.

    Args:
        name: of the argument, for the message.
        value: an array, a tensor or a list, (B, width).
        width: that it must have, None if any will do.
        num_rows: B that it must have, None if any will do.
        device: where a tensor must be, and where arrays and lists are put; None: anywhere.
        finite: whether NaN and infinity are refused. Tensors of a GPU are not looked at, because
            that would wait for all work before it.

    Raises:
        BadInput: naming the argument and its shape, kind or device.
    """
    shape = ("B" if num_rows is None else num_rows, "N" if width is None else width)
    return as_numbers(name, value, shape, device=device, finite=finite).to(torch.float32)


def as_numbers(
    name: str,
    value: Any,
    shape: tuple[int | str, ...],
    *,
    device: torch.device | str | None = None,
    finite: bool = False,
) -> Tensor:
    """Return what a user gives as a tensor of a given shape, in its own number format.

    Args:
        name: of the argument, for the message.
        value: an array, a tensor or a list.
        shape: sizes; a letter or a name stands for any size from 1.
        device: where a tensor must be, and where arrays and lists are put; None: anywhere.
        finite: whether NaN and infinity are refused, on the CPU.

    Raises:
        BadInput: naming the argument and its shape, kind or device.
    """
    tensor = _as_tensor(name, value, device)
    sizes = tuple(tensor.shape)
    if len(sizes) != len(shape) or any(
        size == 0 if isinstance(right, str) else size != right
        for size, right in zip(sizes, shape, strict=True)
    ):
        words = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        at_least = ", all at least 1" if 0 in sizes else ""
        raise BadInput(f"{name}: shape {sizes} should be ({words}){at_least}")
    if finite:
        check_finite(name, tensor)
    return tensor


_HOSTS = ("cpu",)


def read_waits(x: Tensor) -> bool:
    """Return whether reading a number of x on the host waits for all work before it, as on a GPU.

    Inner loops of training read no number of such a tensor.

    Args:
        x: (B, ...).
    """
    return x.device.type not in _HOSTS


def check_finite(name: str, tensor: Tensor) -> None:
    """Check that a tensor on the CPU holds no NaN and no infinity; others are not looked at.

    Args:
        name: of the argument, for the message.
        tensor: (B, ...).

    Raises:
        BadInput: naming the first row that is not finite.
    """
    if read_waits(tensor) or math.isfinite(tensor.sum()):  # no sum hides a NaN or an infinity
        return
    if not torch.isfinite(tensor).all():
        rows = ~torch.isfinite(tensor).reshape(tensor.shape[0], -1).all(1)
        row = int(torch.nonzero(rows)[0])
        shape = f"shape {tuple(tensor.shape)}, row {row}"
        raise BadInput(f"{name}: {shape} should be finite: {tensor[row].tolist()}")


def _as_tensor(name: str, value: Any, device: torch.device | str | None) -> Tensor:
    """Return an array, a tensor or a list of real numbers as a tensor.

    Raises:
        BadInput: if it holds something else, or is a tensor of another device.
    """
    if isinstance(value, Tensor):
        where = value.device if device is None else torch.device(device)
        index = where.index is None or value.device.index in (None, where.index)
        if value.device.type != where.type or not index:
            shape = tuple(value.shape)
            raise BadInput(f"{name}: shape {shape} on {value.device} should be on {where}")
    if isinstance(value, np.ndarray):
        value = _plain_array(name, value)
    try:
        tensor = torch.as_tensor(value, device=device)
    except (TypeError, ValueError, RuntimeError):
        kind = type(value).__name__
        raise BadInput(f"{name}: {kind} should be an array or a tensor of numbers") from None
    if tensor.is_complex():
        raise BadInput(f"{name}: {tensor.dtype} should be real numbers")
    return tensor


def _plain_array(name: str, array: np.ndarray) -> np.ndarray:
    """Return an array in the machine's byte order, with the strides that torch takes.

    Raises:
        BadInput: if some of its numbers are masked.
    """
    if np.ma.is_masked(array):
        raise BadInput(f"{name}: a masked array should be an array or a tensor of numbers")
    kind = array.dtype.newbyteorder("=")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        kind = np.dtype(np.float64)
    return np.ascontiguousarray(array, dtype=kind).reshape(array.shape)


def map_tensors(fn: Callable[..., Tensor], *states: Any) -> Any:
    """Apply fn to the matching tensors of beliefs of one structure.

    What is not a tensor (a tuple of member indices, say) is taken from the first belief.

    Args:
        fn: gets one tensor of each belief.
        states: tensors, or tuples of them, however nested.
    """
    first = states[0]
    if isinstance(first, Tensor):
        return fn(*states)
    if isinstance(first, tuple):
        parts = [map_tensors(fn, *leaves) for leaves in zip(*states, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first


def where_rows(mask: Tensor, new: State, old: State) -> State:
    """Return new in the rows where mask (B,) holds, and old in the others.

    Args:
        mask: (B,) bool.
        new: a tensor (B, ...), or a tuple of them, however nested.
        old: of the same structure; what is not a tensor is taken from new.
    """

    def select(x: Tensor, y: Tensor) -> Tensor:
        return torch.where(mask.view(-1, *([1] * (x.dim() - 1))), x, y)

    return map_tensors(select, new, old)


def sequences(data: Transitions, length: int) -> Tensor:
    """Find all windows of consecutive transitions of one episode.

    Rows of one episode must stand in time order; other episodes may stand between them.

    Args:
        data: transitions (B, ...).
        length: steps in a window.

    Returns:
        Row indices (num_windows, length), int64; no window crosses an episode's end.

    Raises:
        ValueError: if length is below 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    episode, order = torch.sort(data.episode, stable=True)
    if episode.shape[0] < length:
        return order.new_empty(0, length)
    starts = torch.nonzero(episode[: episode.shape[0] - length + 1] == episode[length - 1 :])
    return order[starts + torch.arange(length, device=order.device)]
