"""Replay buffer on the device: one packed tensor, so that a batch is one gather."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.types import Transitions, as_numbers, as_rows, read_waits


class ReplayBuffer:
    """Ring of transitions.

    A row is [obs | action | next_obs | reward | terminated | truncated], float32, contiguous; the
    episode numbers stand beside it.

    Args:
        capacity: rows kept; the oldest go first.
        obs_dim: length of an observation.
        act_dim: length of an action.
        device: where the rows live.
    """

    def __init__(
        self, capacity: int, obs_dim: int, act_dim: int, device: torch.device | str = "cpu"
    ):
        """Allocate the ring."""
        self.capacity = capacity
        self.obs_dim = obs_dim
        self.act_dim = act_dim
        self._num_added, self._is_counted = 0, True  # is_counted: whether that is _next
        width = 2 * obs_dim + act_dim + 3
        self.device = torch.device(device)
        # a row more than the ring has: what add_where() leaves out is written there
        self._all_rows = torch.zeros(capacity + 1, width, device=device)
        self._all_episodes = torch.zeros(capacity + 1, dtype=torch.int64, device=device)
        self._rows, self._episode = self._all_rows[:capacity], self._all_episodes[:capacity]
        self._unrecorded = torch.zeros(capacity, dtype=torch.bool, device=device)
        # num_added and len() on the device, for work that reads no number
        self._next, self._held = torch.zeros(2, dtype=torch.int64, device=device).unbind()

    @property
    def num_added(self) -> int:
        """Return the number of rows ever added; read from the device after add_where()."""
        if not self._is_counted:
            self._num_added, self._is_counted = int(self._next), True
        return self._num_added

    def __len__(self) -> int:
        """Count the rows held."""
        return min(self.num_added, self.capacity)

    def add(self, data: Transitions, *, recorded: Tensor | None = None) -> None:
        """Append transitions (B, ...); of more than capacity rows the last are kept.

        Args:
            data: the transitions.
            recorded: (B,) bool, False where next_obs is not known; None: it is everywhere.

        Raises:
            BadInput: naming the field that does not fit the buffer, or is not finite.
        """
        obs = as_rows("obs", data.obs, width=self.obs_dim)
        same: dict[str, Any] = {"num_rows": obs.shape[0], "device": obs.device}
        action = as_rows("action", data.action, width=self.act_dim, **same)
        next_obs = as_rows("next_obs", data.next_obs, width=self.obs_dim, **same)
        columns = {
            name: as_numbers(name, getattr(data, name), obs.shape[:1], device=obs.device)
            for name in ("reward", "terminated", "truncated", "episode")
        }
        ends = (columns[name][:, None] for name in ("reward", "terminated", "truncated"))
        rows = torch.cat([obs, action, next_obs, *ends], dim=1)
        if not read_waits(rows) and not torch.isfinite(rows).all():
            data.validated()  # names the field
        rows = rows.to(self._rows)
        first = max(0, rows.shape[0] - self.capacity)
        start = self.num_added + first
        where = torch.arange(start, self.num_added + rows.shape[0], device=rows.device)
        where %= self.capacity
        self._rows[where] = rows[first:]
        self._episode[where] = columns["episode"].to(self._episode)[first:]
        self._unrecorded[where] = False if recorded is None else ~recorded.to(rows.device)[first:]
        self._count(self.num_added + rows.shape[0])

    def add_where(self, data: Transitions, rows: Tensor) -> None:
        """Append those of some transitions that a mask names, without reading how many they are.

        Args:
            data: the transitions (B, ...), as they come from a model: nothing of them is checked.
            rows: (B,) bool; at most capacity.
        """
        if not read_waits(self._rows):
            self.add(data.select(rows))
            return
        ends = (x[:, None].to(self._rows) for x in (data.reward, data.terminated, data.truncated))
        packed = torch.cat([data.obs, data.action, data.next_obs, *ends], 1)
        place = (self._next + rows.cumsum(0) - 1) % self.capacity
        place = torch.where(rows, place, self.capacity)
        self._all_rows.index_copy_(0, place, packed)
        self._all_episodes.index_copy_(0, place, data.episode)
        self._next += rows.sum()
        self._held.copy_(self._next.clamp(max=self.capacity))
        self._is_counted = False

    def sample(self, batch_size: int, *, generator: torch.Generator) -> Transitions:
        """Draw transitions (batch_size, ...) uniformly, with replacement."""
        return self.rows(self.draw(batch_size, generator=generator))

    def draw(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Draw places (num,), int64, of rows that are held, uniformly, with replacement."""
        if not read_waits(self._rows):
            return torch.randint(len(self), (num,), generator=generator)
        # a CUDA graph reads the number of rows anew at each replay only from a tensor
        index = torch.empty(num, dtype=torch.int64, device=self.device)
        return index.random_(generator=generator).remainder_(self._held)

    def copy_packed(self, index: Tensor, out: Tensor) -> None:
        """Copy the packed rows in the places index (B,) to out (B, width), contiguous."""
        torch.index_select(self._rows, 0, index, out=out)

    @property
    def width(self) -> int:
        """Return the length of a packed row."""
        return self._rows.shape[1]

    def rows(self, index: Tensor) -> Transitions:
        """Return the transitions (B, ...) in the ring's places index (B,), int64."""
        index = index.to(self._rows.device)
        return self.unpack(self._rows.index_select(0, index), self._episode.index_select(0, index))

    def all(self) -> Transitions:
        """Return every row held, the oldest first."""
        size = len(self)
        if self.num_added <= self.capacity:
            return self.unpack(self._rows[:size], self._episode[:size])
        shift = -(self.num_added % self.capacity)
        return self.unpack(self._rows.roll(shift, 0), self._episode.roll(shift, 0))

    def recorded(self) -> Transitions:
        """Return the rows whose successor is known, the oldest first: what models are fitted to."""
        size, data = len(self), self.all()
        if not self._unrecorded[:size].any():
            return data
        shift = -(self.num_added % self.capacity) if self.num_added > self.capacity else 0
        return data.select(~self._unrecorded[:size].roll(shift, 0))

    def unpack(self, rows: Tensor, episode: Tensor) -> Transitions:
        """Split packed rows (B, width), of episode (B,), into views."""
        sizes = [self.obs_dim, self.act_dim, self.obs_dim, 1, 1, 1]
        obs, action, next_obs, reward, terminated, truncated = rows.split(sizes, dim=1)
        return Transitions(
            obs,
            action,
            reward[:, 0],
            next_obs,
            terminated[:, 0] > 0.5,
            truncated[:, 0] > 0.5,
            episode,
        )

    def clear(self) -> None:
        """Remove every row."""
        self._count(0)

    def _count(self, num_added: int) -> None:
        """Set the number of rows ever added."""
        self._num_added, self._is_counted = num_added, True
        self._next.fill_(num_added)
        self._held.fill_(len(self))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows held and their count."""
        size = len(self)
        state: dict[str, Any] = {
            "num_added": self.num_added,
            "rows": self._rows[:size],
            "episode": self._episode[:size],
        }
        if self._unrecorded[:size].any():
            state["unrecorded"] = self._unrecorded[:size]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            ValueError: if the rows were made with another width or capacity, or are not finite.
        """
        rows, size = state["rows"], min(state["num_added"], self.capacity)
        if tuple(rows.shape) != (size, self._rows.shape[1]):
            raise ValueError(
                f"replay rows {tuple(rows.shape)} do not fit {(size, self._rows.shape[1])}"
            )
        if not rows.isfinite().all():
            raise ValueError("replay rows hold a NaN or an infinity")
        self._count(state["num_added"])
        self._rows[:size] = rows
        self._episode[:size] = state["episode"]
        self._unrecorded[:size] = state.get("unrecorded", False)


def mix(
    real: ReplayBuffer,
    imagined: ReplayBuffer | None,
    batch_size: int,
    *,
    real_ratio: float,
    num_batches: int = 1,
    generator: torch.Generator,
    out: Tensor | None = None,
) -> Tensor:
    """Draw batches of which round(real_ratio * batch_size) rows are real, the rest imagined.

    One gather per buffer, however many batches. If a buffer is empty all rows are the other's.

    Args:
        real: transitions of the environment.
        imagined: transitions of a model, None if there is none.
        batch_size: rows in a batch.
        real_ratio: share of real rows.
        num_batches: batches drawn at once.
        generator: source of the draws, with replacement.
        out: (num_batches, batch_size, width), where they are written, contiguous; None: new memory.

    Returns:
        Packed rows (num_batches, batch_size, width), not shared with the buffers; the real ones
        come first in a batch.

    Raises:
        ValueError: if both buffers are empty.
    """
    if imagined is None or len(imagined) == 0:
        imagined, num_real = real, batch_size
    else:
        num_real = round(real_ratio * batch_size) if len(real) else 0
    if len(real) + len(imagined) == 0:
        raise ValueError("there is nothing to sample from: the replay buffers are empty")
    if out is None:
        out = torch.empty(num_batches, batch_size, real.width, device=real.device)
    width = real.width
    flat = out.view(-1, width)
    shares = ((real, num_real), (imagined, batch_size - num_real))
    drawn = [
        (buffer, buffer.draw(num_batches * share, generator=generator).view(num_batches, share))
        for buffer, share in shares
        if share
    ]
    buffer, places = drawn[-1]
    if len(drawn) == 1:
        buffer.copy_packed(places.flatten(), flat)
        return out
    # all rows of the batch from the second buffer, then the first ones from the first: a gather
    # into a part of the batch would need memory of its own
    whole = torch.cat([places[:, :1].expand(-1, num_real), places], 1)
    buffer.copy_packed(whole.flatten(), flat)
    first, places = drawn[0]
    rows = flat.new_empty(places.numel(), width)
    first.copy_packed(places.flatten(), rows)
    out[:, :num_real] = rows.view(num_batches, num_real, width)
    return out
