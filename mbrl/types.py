"""The glossary of shapes: what flows between environments, models, planners and agents.

B is a batch, E the environments, K the candidates, H the horizon; tensors are batch first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mbrl.relu import PiecewiseLinearCost

State = TypeVar("State")  # a model's belief: a tensor, or a (named) tuple of tensors, batch first


class Transitions(NamedTuple):
    """A batch of environment transitions."""

    obs: Tensor  # (B, obs_dim)
    action: Tensor  # (B, act_dim) in environment units; discrete actions one-hot
    reward: Tensor  # (B,)
    next_obs: Tensor  # (B, obs_dim) the true successor, never the reset observation
    terminated: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool; truncation bootstraps, termination does not
    episode: Tensor  # (B,) int64, so that sequences can be cut


class Prediction(NamedTuple):
    """What a model says of one step."""

    next_obs: Tensor  # (B, obs_dim)
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    valid: Tensor  # (B,) bool; False = the model cannot stand by it: truncate and bootstrap
    uncertainty: Tensor | None  # (B,) >= 0, scale-normalised epistemic; None unless asked for


TaskFunction = Callable[[Tensor, Tensor, Tensor], Tensor]  # (obs, action, next_obs) -> (B,)


class InteractionEdges(NamedTuple):
    """Who acts on whom: edges of one kind, to be described by one network shared by all of them.

    The change of obs is the sum over edges e of outputs[e] @ f(inputs[e] @ [obs, action]).
    """

    inputs: Tensor  # (num_edges, num_inputs, obs_dim + act_dim)
    outputs: Tensor  # (num_edges, obs_dim, num_outputs)


class Task(NamedTuple):
    """What is known of an environment; None = learn it.

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


class ActionSpec(NamedTuple):
    """The actions an environment takes."""

    kind: Literal["continuous", "discrete"]
    low: Tensor  # (act_dim,) zeros for discrete
    high: Tensor  # (act_dim,) ones for discrete
    num_actions: int = 0  # of a discrete space; act_dim = num_actions, one-hot

    @property
    def dim(self) -> int:
        """Give act_dim."""
        return self.low.shape[0]

    def sample(self, batch: int, *, generator: torch.Generator) -> Tensor:
        """Draw uniform actions (batch, act_dim); discrete ones come one-hot."""
        device = self.low.device
        if self.kind == "discrete":
            index = torch.randint(self.num_actions, (batch,), generator=generator, device=device)
            return torch.nn.functional.one_hot(index, self.num_actions).to(self.low.dtype)
        uniform = torch.rand(batch, self.dim, generator=generator, device=device)
        return self.low + (self.high - self.low) * uniform

    def clip(self, action: Tensor) -> Tensor:
        """Put actions (..., act_dim) back inside the bounds."""
        return torch.minimum(torch.maximum(action, self.low), self.high)


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
