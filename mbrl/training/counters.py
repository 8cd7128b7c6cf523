"""Counters of a run: steps, episodes, returns, evaluations, time."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch
from torch import Tensor

from mbrl.types import read_waits

_MOST_UNREAD = 1000  # vector steps whose rewards are kept on a device


class TrainingCounters:
    """Counters of a run's steps, episodes, returns, evaluations and time.

    Args:
        num_envs: environments that are stepped side by side.
        device: of their rewards. Where a read waits, rewards are read when they are asked for.
    """

    def __init__(self, num_envs: int = 1, device: torch.device | str = "cpu"):
        """Start all counters at 0."""
        self.step = 0
        # (E,) the number of the running episode
        self.episode = torch.arange(num_envs, device=device)
        self.evaluations: list[list[Any]] = []  # [step, returns]
        self.pending: dict[str, float] = {}  # metrics since the last row
        self._returns = torch.zeros(num_envs, dtype=torch.float64)
        self._lengths = torch.zeros(num_envs, dtype=torch.float64)
        self._recent: deque[tuple[float, float]] = deque(maxlen=100)
        self._next_episode = torch.tensor(num_envs, device=device)
        self._unread: list[tuple[Tensor, Tensor]] = []  # rewards (E,) and ends (E,) of steps
        self._before = {"cpu": 0.0, "wall": 0.0}  # spent before a resume
        self._started = {"cpu": time.process_time(), "wall": time.monotonic()}
        self._start_step = 0

    def advance(self, reward: Tensor, done: Tensor) -> None:
        """Count one vector step: reward (E,), done (E,) bool."""
        self.step += reward.shape[0]
        waits = read_waits(done)
        if waits or done.any():
            new = self._next_episode + done.cumsum(0) - 1
            self.episode = torch.where(done, new, self.episode)
            self._next_episode = self._next_episode + done.sum()
        self._unread.append((reward, done))
        if not waits or len(self._unread) >= _MOST_UNREAD:
            self._read()

    def _read(self) -> None:
        """Add the rewards of the steps since the last read to the returns."""
        if not self._unread:
            return
        rewards, ends = (torch.stack(rows).cpu() for rows in zip(*self._unread, strict=True))
        self._unread.clear()
        for reward, done in zip(rewards, ends, strict=True):
            self._returns += reward
            self._lengths += 1
            for i in torch.nonzero(done).flatten().tolist():
                self._recent.append((self._returns[i].item(), self._lengths[i].item()))
                self._returns[i] = self._lengths[i] = 0

    def count(self, score: dict[str, Any]) -> None:
        """Count an evaluation at this step; its returns are removed from the score."""
        self.evaluations.append([self.step, score.pop("eval/rewards")])
        self.pending |= score

    def due(self, interval: int) -> bool:
        """Return whether a multiple of interval was passed in this vector step."""
        return self.step % interval < self.episode.shape[0]

    def spent(self, clock: str) -> float:
        """Return the seconds of cpu or wall time, those before a resume included."""
        now = time.process_time() if clock == "cpu" else time.monotonic()
        return self._before[clock] + now - self._started[clock]

    def metrics(self) -> dict[str, float]:
        """Return the means over recent episodes, and the speed."""
        self._read()
        elapsed = time.monotonic() - self._started["wall"]
        metrics = {
            "time/fps": (self.step - self._start_step) / max(elapsed, 1e-9),
            "time/cpu_seconds": self.spent("cpu"),
            "time/wall_seconds": self.spent("wall"),
        }
        if self._recent:
            returns, lengths = zip(*self._recent, strict=True)
            metrics["rollout/ep_rew_mean"] = sum(returns) / len(returns)
            metrics["rollout/ep_len_mean"] = sum(lengths) / len(lengths)
        return metrics

    def row(self) -> dict[str, float]:
        """Return a row: the newest of each pending metric, and the counters' own; clear them."""
        pending, self.pending = self.pending, {}
        return {**pending, **self.metrics()}

    def summary(self) -> dict[str, Any]:
        """Return what summary.json holds."""
        rewards = self.evaluations[-1][1] if self.evaluations else []
        return {
            "step": self.step,
            "eval/mean_reward": sum(rewards) / len(rewards) if rewards else None,
            "evaluations": [{"step": step, "rewards": rows} for step, rows in self.evaluations],
            "time/cpu_seconds": self.spent("cpu"),
            "time/wall_seconds": self.spent("wall"),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all counters."""
        self._read()
        return {
            "step": self.step,
            "episode": self.episode,
            "evaluations": self.evaluations,
            "pending": self.pending,
            "returns": self._returns,
            "lengths": self._lengths,
            "recent": list(self._recent),
            "next_episode": int(self._next_episode),
            "spent": {clock: self.spent(clock) for clock in self._before},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            ValueError: naming what is no state of these counters.
        """
        pending = state.get("pending", {})  # older checkpoints have none
        right = {
            "step": _is_count(state["step"]),
            "next_episode": _is_count(state["next_episode"]),
            "evaluations": all(
                _is_count(step) and len(rewards) > 0 and all(map(_is_number, rewards))
                for step, rewards in state["evaluations"]
            ),
            "pending": all(map(_is_number, pending.values())),
            "recent": all(_is_number(r) and _is_number(n) for r, n in state["recent"]),
            "spent": all(_is_number(state["spent"][clock]) for clock in self._before),
        } | {
            name: isinstance(state[name], Tensor) and state[name].shape == self.episode.shape
            for name in ("episode", "returns", "lengths")
        }
        for name, good in right.items():
            if not good:
                raise ValueError(f"{name}: {state[name]!s:.80} is not what a run counts")
        self.step = self._start_step = state["step"]
        self.episode = state["episode"].to(self.episode.device)
        self.evaluations = state["evaluations"]
        self.pending = pending
        self._returns = state["returns"]
        self._lengths = state["lengths"]
        self._recent.extend((r, n) for r, n in state["recent"])
        self._next_episode = self._next_episode.new_tensor(state["next_episode"])
        self._before = state["spent"]


def _is_count(value: Any) -> bool:
    """Return whether a value is a whole number from 0 to what an index may be."""
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    """Return whether a value is a number."""
    return type(value) in (int, float)
