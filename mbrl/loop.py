"""The training loop and the evaluation, readable on one screen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from mbrl.agents.base import Agent
from mbrl.buffer import ReplayBuffer
from mbrl.envs.base import VecEnv
from mbrl.errors import BadInput, EnvironmentFault, NumericalFault
from mbrl.run import RunFolder
from mbrl.types import Transitions

ENDLESS = 10_000  # steps after which an episode without a limit is held to have no end


class Recorder(Protocol):
    """Where metrics go: mbrl.logger.Logger."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at an environment step."""
        ...

    def position(self) -> int:
        """Give the length of the record in bytes."""
        ...

    def rewind(self, position: int) -> None:
        """Cut the record back to a length, on a resume."""
        ...


def train(
    env: VecEnv,
    agent: Agent,
    buffer: ReplayBuffer,
    run: RunFolder,
    logger: Recorder,
    *,
    make_eval_env: Callable[[int], VecEnv],
    seed: int,
    total_steps: int,
    eval_every: int | None,
    eval_episodes: int,
    save_every: int,
    log_every: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train until total_steps environment transitions, from the newest checkpoint if there is one.

    Args:
        env: E environments; each step of the loop adds E transitions.
        agent: acts and learns.
        buffer: takes every real transition.
        run: where checkpoints and the summary go.
        logger: where metrics go.
        make_eval_env: makes the environments of an evaluation, given their number.
        seed: of the environments.
        total_steps: environment transitions in all.
        eval_every: transitions between evaluations; there is one at the end too. None: never.
        eval_episodes: episodes of an evaluation.
        save_every: transitions between checkpoints; there is one at the end too.
        log_every: transitions between rows of training metrics.
        stop: asked after each step; True saves and returns early.

    Returns:
        The summary, also written to the run folder; summary["finished"] is False if stopped early.

    Raises:
        BadInput: if the checkpoint is damaged, or is not one of these parts.
        EnvironmentFault: naming the environment and its step.
        NumericalFault: naming what was not finite, and after how many transitions.
    """
    progress = _Progress(env.num_envs)
    saved = run.load()
    if saved is None:
        obs = env.reset(seed)
        logger.rewind(0)
    else:
        obs = saved["loop"]["obs"].to(env.device)
        progress.load_state_dict(saved["loop"]["progress"])
        logger.rewind(saved["loop"]["log_position"])
        for part, name in ((env, "env"), (agent, "agent"), (buffer, "buffer")):
            with fitting(run, name):
                part.load_state_dict(saved[name])

    def save() -> None:
        loop = {"obs": obs, "progress": progress.state_dict(), "log_position": logger.position()}
        parts = {"agent": agent, "buffer": buffer, "env": env}
        run.save(progress.step, {"loop": loop, **{k: v.state_dict() for k, v in parts.items()}})

    finished = progress.step >= total_steps
    while not finished and not stop():
        with _counted(progress):
            action = agent.act(obs, explore=True, env_state=env.env_state)
        number = progress.step // env.num_envs + 1
        check_finite(number, action=action)
        step = env.step(action)
        check_finite(number, observation=step.next_obs, reward=step.reward)
        buffer.add(
            Transitions(
                obs,
                action,
                step.reward,
                step.next_obs,
                step.terminated,
                step.truncated,
                progress.episode,
            )
        )
        obs = step.obs
        progress.advance(step.reward, step.terminated | step.truncated)
        agent.reset(step.terminated | step.truncated)
        with _counted(progress):
            metrics = agent.update(buffer)
        finished = progress.step >= total_steps

        if eval_every is not None and (progress.due(eval_every) or finished):
            with _counted(progress, "in the evaluation "):
                score = evaluate(make_eval_env, agent, episodes=eval_episodes, seed=seed)
            progress.evaluations.append([progress.step, score["eval/rewards"]])
            metrics = {**metrics, **{k: v for k, v in score.items() if k != "eval/rewards"}}
        if "eval/mean_reward" in metrics or progress.due(log_every):
            logger.log({**metrics, **progress.metrics()}, progress.step)
        if progress.due(save_every) and not finished:
            save()
    save()
    summary = {"finished": finished, **progress.summary()}
    run.write_summary(summary)
    return summary


def evaluate(
    make_env: Callable[[int], VecEnv], agent: Agent, *, episodes: int, seed: int
) -> dict[str, Any]:
    """Run whole episodes side by side with the deterministic policy.

    The environments are seeded apart from training's and from those of other runs' evaluations,
    the same ones at every evaluation.

    Args:
        make_env: number of environments -> a fresh set of them.
        agent: asked with explore=False.
        episodes: how many, one in each environment.
        seed: of the run.

    Returns:
        eval/mean_reward, eval/std_reward, eval/mean_ep_length, eval/episodes, eval/rewards (list).

    Raises:
        EnvironmentFault: also if an episode does not end.
    """
    env = make_env(episodes)
    obs = env.reset(1_000_000 + 1_000 * seed)
    agent.reset(explore=False)
    total, length = torch.zeros(2, episodes, dtype=torch.float64)
    running = torch.ones(episodes, dtype=torch.bool)
    for number in episode_steps(env, running):
        action = agent.act(obs, explore=False, env_state=env.env_state)
        check_finite(number, action=action)
        step = env.step(action)
        check_finite(number, observation=step.next_obs, reward=step.reward)
        total += torch.where(running, step.reward.cpu().double(), 0.0)
        length += running
        done = step.terminated | step.truncated
        agent.reset(done, explore=False)
        running &= ~done.cpu()
        obs = step.obs
    env.close()
    return {
        "eval/mean_reward": total.mean().item(),
        "eval/std_reward": total.std(correction=0).item(),
        "eval/mean_ep_length": length.mean().item(),
        "eval/episodes": episodes,
        "eval/rewards": total.tolist(),
    }


def episode_steps(env: VecEnv, running: Tensor) -> Iterator[int]:
    """Count steps from 1 while any episode is running.

    Args:
        env: whose max_episode_steps is the limit.
        running: (E,) bool, changed in place by the caller.

    Raises:
        EnvironmentFault: if an episode outlasts its limit, or ENDLESS steps where it has none.
    """
    limit = env.max_episode_steps or ENDLESS
    number = 0
    while running.any():
        if number >= limit:
            index = int(torch.nonzero(running)[0])
            what = f"the episode has not ended after {number} steps"
            if env.max_episode_steps is None:
                what += "; give it a limit, for example env.max_episode_steps=1000"
            raise EnvironmentFault(what, index=index, step=number)
        number += 1
        yield number


def check_finite(number: int, **found: Tensor) -> None:
    """Name the environment that was given, or gave, a NaN or an infinity in its number-th step.

    Args:
        number: of the step.
        found: what was found, (E, ...) each, under the name to report.

    Raises:
        EnvironmentFault: naming the environment.
    """
    for what, values in found.items():
        if not torch.isfinite(values).all():
            rows = values.reshape(values.shape[0], -1)
            index = int(torch.nonzero(~torch.isfinite(rows).all(1))[0])
            kind = "a NaN" if torch.isnan(rows[index]).any() else "an infinity"
            raise EnvironmentFault(f"{kind} in the {what}", index=index, step=number)


@contextmanager
def fitting(run: RunFolder, part: str) -> Iterator[None]:
    """Say that a checkpoint's part is not one of this config, where loading it fails.

    Args:
        run: whose checkpoint is loaded.
        part: what is loaded, for the message.

    Raises:
        BadInput: instead of what loading raised.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, EnvironmentFault):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise BadInput(
            f"{run.path}: the checkpoint's {part} does not fit config.yaml ({reason}); "
            "undo the change of the config, or begin a new run"
        ) from error


@contextmanager
def _counted(progress: _Progress, where: str = "") -> Iterator[None]:
    """Add to a fault after how many transitions it came."""
    when = f"({where}after {progress.step} transitions)"
    try:
        yield
    except NumericalFault as fault:
        raise NumericalFault(f"{fault} {when}") from fault
    except EnvironmentFault as fault:
        what = f"{fault.what} {when}"
        raise EnvironmentFault(what, index=fault.index, step=fault.step) from fault


class _Progress:
    """Counts of a run: steps, episodes, returns, evaluations, time."""

    def __init__(self, num_envs: int):
        self.step = 0
        self.episode = torch.arange(num_envs)  # (E,) the number of the running episode
        self.evaluations: list[list[Any]] = []  # [step, returns]
        self._returns = torch.zeros(num_envs, dtype=torch.float64)
        self._lengths = torch.zeros(num_envs, dtype=torch.float64)
        self._recent: deque[tuple[float, float]] = deque(maxlen=100)
        self._next_episode = num_envs
        self._before = {"cpu": 0.0, "wall": 0.0}  # spent before a resume
        self._started = {"cpu": time.process_time(), "wall": time.monotonic()}
        self._start_step = 0

    def advance(self, reward: Tensor, done: Tensor) -> None:
        """Count one vector step: reward (E,), done (E,) bool."""
        self.step += reward.shape[0]
        self._returns += reward.cpu()
        self._lengths += 1
        for i in torch.nonzero(done).flatten().tolist():
            self._recent.append((self._returns[i].item(), self._lengths[i].item()))
            self._returns[i] = self._lengths[i] = 0
            self.episode = self.episode.clone()  # the buffer may still hold the old one
            self.episode[i] = self._next_episode
            self._next_episode += 1

    def due(self, interval: int) -> bool:
        """Tell whether a multiple of interval was passed in this vector step."""
        return self.step % interval < self.episode.shape[0]

    def spent(self, clock: str) -> float:
        """Give seconds of cpu or wall time, earlier sittings included."""
        now = time.process_time() if clock == "cpu" else time.monotonic()
        return self._before[clock] + now - self._started[clock]

    def metrics(self) -> dict[str, float]:
        """Give episode means and speed."""
        here = time.monotonic() - self._started["wall"]
        found = {
            "time/fps": (self.step - self._start_step) / max(here, 1e-9),
            "time/cpu_seconds": self.spent("cpu"),
            "time/wall_seconds": self.spent("wall"),
        }
        if self._recent:
            returns, lengths = zip(*self._recent, strict=True)
            found["rollout/ep_rew_mean"] = sum(returns) / len(returns)
            found["rollout/ep_len_mean"] = sum(lengths) / len(lengths)
        return found

    def summary(self) -> dict[str, Any]:
        """Give what summary.json holds."""
        rewards = self.evaluations[-1][1] if self.evaluations else []
        return {
            "step": self.step,
            "eval/mean_reward": sum(rewards) / len(rewards) if rewards else None,
            "evaluations": [{"step": step, "rewards": rows} for step, rows in self.evaluations],
            "time/cpu_seconds": self.spent("cpu"),
            "time/wall_seconds": self.spent("wall"),
        }

    def state_dict(self) -> dict[str, Any]:
        """Give all counts."""
        return {
            "step": self.step,
            "episode": self.episode,
            "evaluations": self.evaluations,
            "returns": self._returns,
            "lengths": self._lengths,
            "recent": list(self._recent),
            "next_episode": self._next_episode,
            "spent": {clock: self.spent(clock) for clock in self._before},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the counts back."""
        self.step = self._start_step = state["step"]
        self.episode = state["episode"]
        self.evaluations = state["evaluations"]
        self._returns = state["returns"]
        self._lengths = state["lengths"]
        self._recent.extend((r, n) for r, n in state["recent"])
        self._next_episode = state["next_episode"]
        self._before = state["spent"]
