"""One run of the training loop, driven step by step: what `train` and `train_seeds` have in common.

run.begin()
while run.goes_on:
    if not run.waiting:
        run.step(action)                # of the agent, for run.obs
        run.learned(metrics)            # of the agent's update
    run.close_step()                    # evaluates, logs, saves
summary = run.finish()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final

from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.roles import Agent, VecEnv, VecStep
from mbrl.task_check import TaskCheck
from mbrl.training.counters import TrainingCounters
from mbrl.training.evaluation import Evaluator, FiniteCheck, check_ends
from mbrl.training.faults import (
    checkpoint_mismatch,
    load_part,
    restore_loop,
    saved_if_it_fails,
)
from mbrl.training.run_folder import RunFolder
from mbrl.types import Transitions, read_waits
from mbrl.values import Count, checked


class Recorder(Protocol):
    """Record of metrics: mbrl.training.logger.Logger."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at an environment step."""
        ...

    def position(self) -> int:
        """Return the length of the record in bytes."""
        ...

    def rewind(self, position: int) -> None:
        """Truncate the record to a length, on a resume."""
        ...


class NoRecord:
    """Recorder that keeps nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Ignore the metrics."""

    def position(self) -> int:
        """Return 0."""
        return 0

    def rewind(self, position: int) -> None:
        """Ignore the length."""


@final
@checked
@dataclass(frozen=True)
class Schedule:
    """When a run ends, evaluates, saves and logs, in environment transitions.

    Args:
        total_steps: of the run.
        eval_every: between evaluations; there is one at the end too. None: never.
        eval_episodes: episodes of an evaluation.
        save_every: between checkpoints; there is one at the end too. None: only there.
        log_every: between rows of training metrics.
    """

    total_steps: Count
    eval_every: Count | None = None
    eval_episodes: Count = 10
    save_every: Count | None = None
    log_every: Count = 100


@final
class TrainingRun:
    """State of a run between two steps of the loop.

    Args:
        env: E environments; each step of the loop adds E transitions.
        agent: acts and learns; trained in place.
        schedule: when the run ends, evaluates, saves and logs.
        buffer: stores every real transition; None makes one that holds them all.
        folder: where checkpoints and the summary are saved; None saves nothing.
        logger: records the metrics; None records none.
        make_eval_env: makes the environments of an evaluation, given their number; None evaluates
            never.
        seed: of the environments.

    Attributes:
        schedule: the same.
        obs: (E, obs_dim) to act on next, once the run has begun.
        finished: whether all transitions were made.

    Raises:
        BadInput: if env is no VecEnv, or env.task does not fit it.
    """

    obs: Tensor

    def __init__(
        self,
        env: VecEnv,
        agent: Agent,
        schedule: Schedule,
        *,
        buffer: ReplayBuffer | None = None,
        folder: RunFolder | None = None,
        logger: Recorder | None = None,
        make_eval_env: Callable[[int], VecEnv] | None = None,
        seed: int = 0,
    ):
        """Store the parts; begin() starts or resumes the run."""
        _check_env(env)
        self.env, self.agent, self.seed = env, agent, seed
        self.buffer = _empty_buffer(env, schedule.total_steps) if buffer is None else buffer
        self.folder = folder
        self.counters = TrainingCounters(env.num_envs, env.device)
        self.finished = False
        self.schedule = schedule
        self._logger = NoRecord() if logger is None else logger
        self._make_eval_env = make_eval_env
        self._evaluator = Evaluator(
            make_eval_env, schedule.eval_every, episodes=schedule.eval_episodes, seed=seed
        )
        self._known = TaskCheck(env.task, env.obs_dim)
        self._finite = FiniteCheck()

    def begin(self) -> None:
        """Start the run, or restore its newest good checkpoint.

        Raises:
            BadInput: if the checkpoint is damaged, or is not one of these parts; if episodes are to
                be evaluated and never end.
            EnvironmentFault: naming the environment.
        """
        saved = None if self.folder is None else self.folder.resume()
        if self.folder is None or saved is None:
            ends = self.env.max_episode_steps or not self.schedule.eval_every
            check_ends(None if ends else self._make_eval_env, self.seed)
            self.obs = self.env.reset(self.seed)
            self._logger.rewind(0)
        else:
            self.obs = self._restore(self.folder, saved).to(self.env.device)
            self._evaluator.resume(saved["loop"])
        self.finished = self.counters.step >= self.schedule.total_steps

    @property
    def waiting(self) -> bool:
        """Return whether an evaluation is to be run before the next step."""
        return self._evaluator.waiting

    @property
    def goes_on(self) -> bool:
        """Return whether there is a step or an evaluation left."""
        return self.waiting or not self.finished

    def step(self, action: Tensor) -> None:
        """Step the environments and store the transitions.

        Args:
            action: (E, act_dim) for obs.

        Raises:
            EnvironmentFault: naming the environment and its step.
        """
        counters, env = self.counters, self.env
        number = counters.step // env.num_envs + 1
        step = self._step_env(action, number)
        data = Transitions.of_step(self.obs, action, step, counters.episode)
        self.buffer.add(data)
        self.obs = step.obs
        counters.advance(step.reward, step.terminated | step.truncated)
        self.agent.reset(step.terminated | step.truncated)
        self.finished = counters.step >= self.schedule.total_steps
        self._last = data, number

    def learned(self, metrics: dict[str, float]) -> None:
        """Count the metrics of an update, and check what is known of the environment.

        Args:
            metrics: of the agent.

        Raises:
            BadInput: if env.task contradicts the transitions; a checkpoint is saved.
        """
        data, number = self._last
        self.counters.pending |= metrics
        # a check waits for all work before it, where a read does
        if self.finished or not read_waits(data.reward) or self._logs:
            with saved_if_it_fails(self.save):
                self._known.add(data, number, last=self.finished)

    def close_step(self) -> None:
        """Evaluate, log and save, each if it is time.

        Raises:
            EnvironmentFault: also if an episode of an evaluation does not end.
            NumericalFault: naming what was not finite, and after how many transitions.
        """
        counters, schedule = self.counters, self.schedule
        self._evaluator.run(self.agent, counters, self.save, last=self.finished)
        if "eval/mean_reward" in counters.pending or self._logs:
            self._finite.read()
            self._logger.log(counters.row(), counters.step)
        every = schedule.save_every
        if every is not None and counters.due(every) and not self.finished:
            self.save()

    @property
    def _logs(self) -> bool:
        """Return whether a row of training metrics is due."""
        return self.counters.due(self.schedule.log_every)

    def finish(self) -> dict[str, Any]:
        """Save, and return the summary, which is written to the run folder too."""
        self.save()
        summary = {"finished": self.finished, **self.counters.summary()}
        if self.folder is not None:
            self.folder.write_summary(summary)
        return summary

    def save(self) -> None:
        """Save a checkpoint, if there is a run folder.

        Raises:
            EnvironmentFault: if a number that was not read yet is not finite.
        """
        self._finite.read()
        if self.folder is None:
            return
        counters = self.counters
        loop = {
            "obs": self.obs,
            "progress": counters.state_dict(),
            "log_position": self._logger.position(),
            "evaluation_due": self._evaluator.waiting,
        }
        parts = {"agent": self.agent, "buffer": self.buffer, "env": self.env}
        state = {"loop": loop, **{name: part.state_dict() for name, part in parts.items()}}
        replace = self._evaluator.replaces(counters.step)
        self.folder.save(counters.step, state, replace=replace)

    def _restore(self, folder: RunFolder, saved: dict[str, Any]) -> Tensor:
        """Restore a checkpoint; return the observations (E, obs_dim) to act on next."""
        parts = {"env": self.env, "agent": self.agent, "buffer": self.buffer}
        for name, part in parts.items():
            load_part(folder.path, name, part, saved.get(name))
        position = restore_loop(folder, saved["loop"], self.counters)
        with checkpoint_mismatch(folder.path, "loop"):
            obs, shape = saved["loop"]["obs"], (self.env.num_envs, self.env.obs_dim)
            if obs.shape != shape or not obs.isfinite().all():
                raise ValueError(
                    f"obs: shape {tuple(obs.shape)} should be {shape}, of finite numbers"
                )
        self._logger.rewind(position)  # only now: a checkpoint that is refused leaves the record
        return obs

    def _step_env(self, action: Tensor, number: int) -> VecStep:
        """Step with actions (E, act_dim); check that they and what comes of them are finite."""
        self._finite.add(number, action=action)
        step = self.env.step(action)
        self._finite.add(number, observation=step.next_obs, reward=step.reward)
        return step


def _check_env(env: Any) -> None:
    """Check that an environment is a VecEnv.

    Raises:
        BadInput: if it is another.
    """
    if not all(hasattr(env, name) for name in ("num_envs", "obs_dim", "action", "task", "step")):
        raise BadInput(
            f"env: a {type(env).__name__} should be a VecEnv, as mbrl.make_vec returns; "
            "mbrl.envs.vec_env_of(env) makes one of a gymnasium Env"
        )


def _empty_buffer(env: VecEnv, total_steps: int) -> ReplayBuffer:
    """Return a buffer that holds all transitions of a run."""
    capacity = -(-total_steps // env.num_envs) * env.num_envs
    return ReplayBuffer(capacity, env.obs_dim, env.action.dim, env.device)
