"""Gymnasium environments in a process of their own, for those that may hang, die or leak.

The same GymnasiumVecEnv runs there, so the numbers are the same. A crash of that process is
reported here and cannot end the training.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import VecStep
from mbrl.task_check import check_task
from mbrl.types import ActionSpec, Task
from mbrl.values import Count, NumEnvs, Positive, checked

_START = 120.0  # seconds that importing and making the environments may take
_CLOSE = 10.0  # seconds that closing them may take
# sent to all processes of a training by a terminal or by Slurm; the training saves, then ends these
_SIGNALS = [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]


@final
class GymnasiumProcess:
    """VecEnv of gymnasium environments in a worker process.

    Args:
        id: as registered with gymnasium; "module:Name-v0" imports the module that registers it.
        num_envs: copies.
        seed: environment i is seeded with seed + i.
        kwargs: keywords of the environment.
        task: what is known of it in closed form; null: nothing. It stays in this process.
        strict: also refuse what does no harm here; see GymnasiumVecEnv.
        max_episode_steps: when an episode is truncated; null leaves it to the environment.
        time_limit: seconds that a step or a reset of all copies may take; null for no limit.
        memory_limit: MB that the worker may grow by; null for no limit.
        device: of the tensors that are returned.

    Attributes:
        obs_shape: of an observation before it is flattened.
        act_shape: of an action before it is flattened, () of a Discrete space.
        first_action: number of the first action of a Discrete space.
        observation_space: gymnasium's, of one environment.
        action_space: gymnasium's, of one environment.

    Raises:
        BadInput: if the id is unknown or its spaces are not supported.
        EnvironmentFault: if an environment hangs, raises or ends its process while it is made.
    """

    @checked
    def __init__(
        self,
        id: str,
        *,
        num_envs: NumEnvs = 1,
        seed: int = 0,
        kwargs: dict[str, Any] | None = None,
        task: Task | None = None,
        max_episode_steps: Count | None = None,
        strict: bool = False,
        time_limit: Positive | None = None,
        memory_limit: Positive | None = None,
        device: torch.device | str = "cpu",
    ):
        """Start the worker, which makes the copies."""
        self.num_envs = num_envs
        self.device = torch.device(device)
        self._time_limit = time_limit
        self._steps = 0  # since construction, to name a fault
        context = multiprocessing.get_context("spawn")  # forking would copy torch's locks
        self._turn = context.RawValue("i", 0)  # the environment being run
        self._pipe, theirs = context.Pipe()
        options = {"id": id, "num_envs": num_envs, "seed": seed, "kwargs": kwargs}
        options |= {"max_episode_steps": max_episode_steps, "strict": strict}
        self._process = context.Process(
            target=_serve, args=(theirs, self._turn, options, memory_limit), daemon=True
        )
        with _held_back():
            self._process.start()
        # at the end of this process, before it would wait for one that ignores SIGTERM
        Finalize(self, self._process.kill, exitpriority=10)
        theirs.close()  # so that its end shows as the end of the pipe
        limit = None if time_limit is None else _START + time_limit
        made: _Made = self._answer(limit)
        self.obs_dim, self.obs_shape, self.act_shape, self.first_action = made[:4]
        self.observation_space, self.action_space = made.observation_space, made.action_space
        self.max_episode_steps = made.max_episode_steps
        self.task = check_task(task, self.obs_dim)
        low, high = (x.to(self.device) for x in (made.action.low, made.action.high))
        self.action = made.action._replace(low=low, high=high)

    def reset(
        self, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> Tensor:
        """Start new episodes; see GymnasiumVecEnv.reset."""
        return self._ask("reset", seed, options).to(self.device)

    def step(self, action: Tensor) -> VecStep:
        """Step with actions (E, act_dim); see VecEnv.step."""
        self._steps += 1
        return VecStep(
            *(x.to(self.device) for x in self._ask("step", torch.as_tensor(action).detach().cpu()))
        )

    def reward_terms(self) -> dict[str, Tensor]:
        """Return the terms of the latest rewards, if it is strict; see HasRewardTerms."""
        return self._ask("reward_terms")

    def env_state(self) -> Tensor | None:
        """Return None: the state of such an environment is not known."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the starts of the running episodes and the actions since then."""
        return self._ask("state_dict")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the running episodes; the time limit does not apply to a replay."""
        self._steps = state["steps"]
        self._send("load_state_dict", state)
        self._answer(None)

    def close(self) -> None:
        """Close the environments, then end the worker."""
        try:
            if self._process.is_alive():
                self._send("close")
                self._answer(_CLOSE if self._time_limit is None else self._time_limit)
        finally:
            self._process.kill()
            self._process.join()
            self._pipe.close()

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the worker's environments."""
        self._send(method, *arguments)
        return self._answer(self._time_limit)

    def _send(self, method: str, *arguments: Any) -> None:
        """Send a call; a dead worker is noticed when it does not answer."""
        if self._pipe.closed:
            raise BadInput(f"{method}: the environments are closed; make new ones")
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send_bytes(pickle.dumps((method, arguments)))

    def _answer(self, time_limit: float | None) -> Any:
        """Return the worker's answer.

        Raises:
            EnvironmentFault: if it does not come, or is one.
        """
        try:
            if not self._pipe.poll(time_limit):
                self._process.kill()
                raise self._fault(f"no answer within {time_limit:g} s")
            answer = pickle.loads(self._pipe.recv_bytes())  # of our own process, not of a file
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            raise self._fault(f"ended its process ({how})") from None
        if isinstance(answer, _Fault):
            raise EnvironmentFault(answer.what, index=answer.index, step=answer.step)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _fault(self, what: str) -> EnvironmentFault:
        """Return a fault of the environment whose turn it was."""
        return EnvironmentFault(what, index=self._turn.value, step=self._steps)


class _Made(NamedTuple):
    """What the worker says of its environments."""

    obs_dim: int
    obs_shape: tuple[int, ...]
    act_shape: tuple[int, ...]
    first_action: int
    observation_space: Any
    action_space: Any
    action: ActionSpec
    max_episode_steps: int | None


class _Fault(Exception):
    """EnvironmentFault on its way through the pipe."""

    def __init__(self, what: str, index: int | None, step: int):
        super().__init__(what, index, step)
        self.what, self.index, self.step = what, index, step


def _serve(
    pipe: Connection, turn: ctypes.c_int, options: dict[str, Any], memory_limit: float | None
) -> None:
    """Run the environments until the parent closes the pipe."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    with contextlib.suppress(OSError, AttributeError):  # Linux: end with the parent, hung or not
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    torch.set_num_threads(1)
    from mbrl.envs.from_gymnasium import GymnasiumVecEnv

    def reply(work: Any) -> None:
        try:
            answer = work()
        except EnvironmentFault as fault:
            answer = _Fault(fault.what, fault.index, fault.step)
        except BadInput as error:
            answer = error
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        pipe.send_bytes(pickle.dumps(answer))

    env: Any = None
    steps = 0

    def make() -> _Made:
        nonlocal env
        env = GymnasiumVecEnv(**options)
        env.turn = turn
        return _Made(*(getattr(env, name) for name in _Made._fields))

    def call(method: str, arguments: tuple[Any, ...]) -> Any:
        nonlocal steps
        result = getattr(env, method)(*arguments)
        steps += method == "step"
        grown = _memory() - before
        if memory_limit is not None and grown > memory_limit:
            index = 0 if options["num_envs"] == 1 else None
            what = f"its process has grown by {grown:.0f} MB; memory_limit={memory_limit:g}"
            raise EnvironmentFault(what, index=index, step=steps)
        return result

    reply(make)
    before = _memory()
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            method, arguments = pickle.loads(pipe.recv_bytes())
            reply(lambda m=method, a=arguments: call(m, a))


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Hold back the signals of a group of processes; a process that is started inherits it.

    So it is not ended by them before it can ignore them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it lets SIGTERM through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _memory() -> float:
    """Return the memory of this process in MB, 0 where it is not known."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0
