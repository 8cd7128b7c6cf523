"""Gymnasium's spaces as tensors: which are supported, and actions in their own type and shape."""

from __future__ import annotations

import re
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces

from mbrl.errors import BadInput
from mbrl.types import ActionSpec

_FLATTEN = "wrap the environment in gymnasium.wrappers.FlattenObservation"
_TRANSFORM = "wrap the environment in gymnasium.wrappers.TransformAction"
_MOST = 10_000  # discrete actions


def observation_width(id: str, space: Any) -> int:
    """Return the length of a flattened observation.

    Args:
        id: of the environment, for the message.
        space: its observation space.

    Raises:
        BadInput: if the space is no Box of numbers, or one of images.
    """
    if isinstance(space, spaces.Box) and space.dtype.kind in "iuf":
        if len(space.shape) < 3 or space.dtype != np.uint8:
            width = int(np.prod(space.shape))
            if width > 0:
                return width
            raise _refused(id, "observation", space, "it has no components")
        raise _refused(id, "observation", space, f"for images {_FLATTEN}")
    if not isinstance(space, spaces.Space):
        raise BadInput(f"id={id}: observation_space is {_kind(space)}; should be a gymnasium space")
    advice = _FLATTEN if space.is_np_flattenable else "gymnasium cannot flatten it either"
    raise _refused(id, "observation", space, f"a Box of numbers is; {advice}")


@final
class NativeActions:
    """Actions of a gymnasium space: their kind and bounds, and each in the space's own type.

    Bounds are those of the space, rounded inwards to float32. So an action between them is inside
    the space whatever its type. Where no float32 lies between two bounds, as with a component that
    can only be 0.1, the action is the nearest float32, and is clipped when it is converted.

    Args:
        id: of the environment, for the message.
        space: its action space.
        device: of the bounds.

    Attributes:
        spec: kind and bounds.
        shape: of an action in its own type.
        first: number of the first action of a Discrete space.

    Raises:
        BadInput: if the space is neither Discrete nor a Box of floats with finite bounds.
    """

    def __init__(self, id: str, space: Any, device: torch.device | str = "cpu"):
        """Convert the bounds."""
        self._space = space
        self.first = 0
        self.shape: tuple[int, ...] = ()
        if isinstance(space, spaces.Discrete):
            if space.n > _MOST:  # an action is stored one-hot
                raise _refused(id, "action", space, f"at most {_MOST} actions are; {_TRANSFORM}")
            self.first = int(space.start)
            self.spec = ActionSpec.discrete(int(space.n), device=device)
            return
        _check_box(id, space)
        self.shape = space.shape
        low, high, self._is_narrow = _inward(space.low.ravel(), space.high.ravel())
        with np.errstate(over="ignore"):
            endless = np.flatnonzero(~np.isfinite(high - low))
        if len(endless):
            raise _refused(id, "action", space, _advice(space, int(endless[0])))
        self.spec = ActionSpec.box(low, high, device=device)

    def convert(self, row: np.ndarray) -> Any:
        """Return an action (act_dim,) in the space's own type and shape; always a copy."""
        if self.spec.kind == "discrete":
            return self.first + int(row.argmax())
        action = row.astype(self._space.dtype).reshape(self.shape)
        if self._is_narrow.any():
            inside = np.clip(action, self._space.low, self._space.high)
            np.copyto(action, inside, where=self._is_narrow.reshape(self.shape))
        return action


def constant_components(action: ActionSpec) -> dict[int, float]:
    """Return the components of continuous actions that can only have one value, and that value.

    Args:
        action: the actions.
    """
    if action.kind == "discrete":
        return {}
    fixed = torch.nonzero(action.low == action.high).flatten().tolist()
    return {index: action.low[index].item() for index in fixed}


def _check_box(id: str, space: Any) -> None:
    """Check that actions are a Box of floats with finite bounds.

    Raises:
        BadInput: naming the space, and what to wrap it in.
    """
    if not isinstance(space, spaces.Space):
        raise BadInput(f"id={id}: action_space is {_kind(space)}; should be a gymnasium space")
    if not isinstance(space, spaces.Box):
        advice = f"{_TRANSFORM} with a Discrete space, or a Box"
        raise _refused(id, "action", space, f"Discrete and a Box of floats are; {advice}")
    if space.dtype.kind != "f":
        advice = f"{_TRANSFORM} with a Discrete space, or with a Box of floats that it rounds"
        raise _refused(id, "action", space, f"a Box of floats is; {advice}")
    if not space.low.size:
        raise _refused(id, "action", space, "it has no components")
    infinite = ~(np.isfinite(space.low) & np.isfinite(space.high)).ravel()
    if infinite.any():
        raise _refused(id, "action", space, _advice(space, int(np.flatnonzero(infinite)[0])))


def _inward(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bounds (act_dim,) as float32, rounded inwards, and where none lies between them."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        below, above = low.astype(np.float32), high.astype(np.float32)
        nearest = ((low.astype(np.float64) + high) / 2).astype(np.float32)
    below = np.where(below < low, np.nextafter(below, np.float32(np.inf)), below)
    above = np.where(above > high, np.nextafter(above, np.float32(-np.inf)), above)
    is_narrow = below > above
    return np.where(is_narrow, nearest, below), np.where(is_narrow, nearest, above), is_narrow


def _advice(space: spaces.Box, index: int) -> str:
    """Return the words for a bound that is infinite, or too large for float32."""
    low, high = space.low.ravel()[index].item(), space.high.ravel()[index].item()
    return (
        f"component {index} is between {low:g} and {high:g}, which should be finite in float32; "
        f"{_TRANSFORM} with a Box of finite bounds"
    )


def _refused(id: str, what: str, space: spaces.Space, advice: str) -> BadInput:
    """Return the error that names a space that is not supported."""
    return BadInput(f"id={id}: {what} space {short(space)} is not supported; {advice}")


def _kind(value: Any) -> str:
    """Return what a value is that is no space."""
    return "missing" if value is None else f"a {type(value).__name__}"


def short(space: Any) -> str:
    """Return a space's text in one line.

    Args:
        space: any space.
    """
    return re.sub(r"\s+", " ", str(space))[:120]
