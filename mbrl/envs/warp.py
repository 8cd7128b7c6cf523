"""MuJoCo Warp as a VecEnv: physics, observations, rewards and resets stay on one device."""

from __future__ import annotations

import logging
from typing import Any, final

import numpy as np
import torch
from gymnasium.utils import seeding
from torch import Tensor

from mbrl.envs.guards import as_pair, call_task, is_reward_term
from mbrl.envs.mujoco import control_bounds, load_model
from mbrl.envs.mujoco_task import MujocoTask
from mbrl.envs.starts import StartPool, draw_start
from mbrl.envs.warp_physics import LARGEST, WarpPhysics
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.imagination.vector_env import Seeds, seeds_of
from mbrl.roles import VecStep
from mbrl.task_check import check_task
from mbrl.types import ActionSpec, as_numbers
from mbrl.values import Count, NumEnvs, checked

_log = logging.getLogger(__name__)
_LOOK = 64  # steps on a GPU after which faults are looked for: looking waits for the device
_NAMED = 3  # environments named in one line of the log
_OVERFLOWS = {  # bits of mujoco_warp's OverflowType, and what is short; iterations are no overflow
    0b11: "more rows of constraints than njmax={njmax}: some contacts have no force; raise njmax",
    0b11100: "more contacts than nconmax={nconmax} per world: some were left out; raise nconmax",
    0b100111100000: "a fixed buffer of MuJoCo Warp is too small for its contacts",
}


@final
class WarpVecEnv:
    """VecEnv of a MuJoCo task on MuJoCo Warp, float32: no copy to the CPU in a step.

    The first start of environment i is drawn from seed + i, as with other back ends; later starts
    come from one generator for all. A world that diverges, by a NaN or a number beyond 1e10, is
    reported in the log with its number, and starts anew: that step returns the observation before
    it again, reward 0 and truncated. So is a world whose contacts did not fit. On a GPU the log is
    up to 64 steps late.

    On the CPU runs are bit-identical, also across a resume; on a GPU they are not, since Warp adds
    in any order.

    It is also a ModelVecEnv, so that imagination.ModelVectorEnv and SB3ModelEnv take it.

    Args:
        task: the model and its equations, which take tensors.
        num_envs: worlds stepped at once.
        seed: environment i draws its first start from seed + i.
        device: "cuda", "cuda:N"; "cpu" for checks.
        nconmax: contacts per world, which all worlds share; None for MuJoCo Warp's guess.
        njmax: rows of constraints in each world; None for MuJoCo Warp's guess.

    Attributes:
        bounds: None: observations have none.

    Raises:
        BadInput: if Warp is not installed, the device is not there, the model is none for MuJoCo
            Warp, the equations take no tensors, or the worlds do not fit in memory.
    """

    bounds: tuple[Tensor, Tensor] | None = None  # (obs_dim,) each, in a ModelVecEnv

    @checked
    def __init__(
        self,
        task: MujocoTask,
        *,
        num_envs: NumEnvs = 1,
        seed: int = 0,
        device: torch.device | str = "cuda",
        nconmax: Count | None = None,
        njmax: Count | None = None,
    ):
        """Compile, allocate and capture the physics; there is no episode yet."""
        model, path = load_model(task), task.model_path
        low, high = control_bounds(model, path)
        self._equations = task
        self._dt = float(model.opt.timestep) * task.frame_skip
        self._physics = WarpPhysics(
            model,
            path,
            num_worlds=num_envs,
            frame_skip=task.frame_skip,
            names=("qpos", "qvel", *task.fields),
            device=device,
            nconmax=nconmax,
            njmax=njmax,
        )
        self.device = self._physics.device
        self.num_envs = num_envs
        self.max_episode_steps: int | None = task.max_episode_steps
        self.action = ActionSpec.box(low, high, device=self.device)
        self._still = np.array(model.qpos0), np.zeros(model.nv)
        self._starts = StartPool(task, *self._still, num_envs=num_envs, device=self.device)
        self._seeds = seeds_of(seed, num_envs)

        every = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        posture = (torch.tensor(x, dtype=torch.float32).to(self.device) for x in self._still)
        self._physics.start(every, *(x.expand(num_envs, -1) for x in posture))
        self._now = self._fields()
        self._obs = self._observe(None)
        self.obs_dim = self._obs.shape[1]
        self.task = check_task(task.task, self.obs_dim)
        # what the latest reward was computed from
        self._latest: tuple[Any, Tensor, Any] | None = None
        self._started = False
        self._steps = 0
        self._over = torch.zeros_like(every)  # episodes that ended and have no successor yet
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._diverged = torch.zeros_like(self._elapsed)  # how often
        self._diverged_at = torch.zeros_like(self._elapsed)  # the latest step
        self._overflow = torch.zeros_like(self._physics.overflow)  # all bits so far
        self._looked = 0  # step of the latest look at the three
        self._look_every = _LOOK if self.device.type == "cuda" else 1
        self._known = np.zeros(num_envs, dtype=np.int32)  # bits that were reported

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Raise TypeError: Warp's arrays and graphs cannot be copied."""
        raise TypeError(
            "WarpVecEnv cannot be copied or pickled; make another one, and "
            "load_state_dict(env.state_dict()) lets it go on from the same states"
        )

    def _fields(self) -> dict[str, Tensor]:
        """Return copies of the fields that the equations read, (E, ...) each."""
        return {name: field.clone() for name, field in self._physics.fields.items()}

    def _observe(self, obs_dim: int | None) -> Tensor:
        """Return observations (E, obs_dim) of the present fields."""
        obs = call_task("observe", self._equations.observe, self._now)
        return self._tensor("the observation", obs, (obs_dim,))

    def _tensor(self, name: str, value: Any, shape: tuple[int | None, ...]) -> Tensor:
        """Return what a task computed for each environment as a tensor on the device.

        Raises:
            BadInput: if it is no tensor, as of a task in numpy.
            EnvironmentFault: if it is of another shape.
        """
        if not isinstance(value, Tensor):
            raise BadInput(
                f"task: {name} of {type(self._equations).__name__} is a {type(value).__name__} "
                "though its fields are tensors; backend=warp needs equations in operators and the "
                "functions of array_api_compat.array_namespace"
            )
        right = (self.num_envs, *shape)
        if len(value.shape) != len(right) or any(
            n not in (None, own) for own, n in zip(value.shape, right, strict=True)
        ):
            sizes = ", ".join("N" if n is None else str(n) for n in right)
            what = f"{name} is of shape {tuple(value.shape)}, not ({sizes})"
            raise EnvironmentFault(what, index=None, step=self._steps if self._started else 0)
        return value if value.dtype == torch.bool else value.to(self.device, torch.float32)

    def reset(self, seed: Seeds = None) -> Tensor:
        """Start new episodes; see VecEnv.reset.

        Args:
            seed: environment i is seeded with seed + i, or with seed[i]; None goes on with the
                generator.

        Raises:
            BadInput: if there is another number of seeds, or one is no whole number.
        """
        seeds = seeds_of(seed, self.num_envs) or self._seeds
        return self._start(torch.ones_like(self._over), seeds)

    def restart(self, done: Tensor, seed: int | None = None) -> Tensor:
        """Start new episodes where done (E,) holds, and return all observations (E, obs_dim).

        Args:
            done: (E,) bool.
            seed: as in reset.
        """
        done = as_numbers("done", done, (self.num_envs,)).to(self.device, torch.bool)
        return self._start(done, seeds_of(seed, self.num_envs))

    def _start(self, mask: Tensor, seeds: list[int | None] | None) -> Tensor:
        """Start new episodes where mask (E,) holds; return all observations (E, obs_dim)."""
        self._seeds = None
        start = self._draw(mask, seeds)
        qpos, qvel = start.split([len(x) for x in self._still], dim=1)
        self._physics.start(mask, qpos, qvel)
        self._now = {
            name: torch.where(_beside(mask, now), self._physics.fields[name], now)
            for name, now in self._now.items()
        }
        self._obs = torch.where(mask[:, None], self._observe(self.obs_dim), self._obs)
        self._elapsed = self._elapsed.masked_fill(mask, 0)
        self._over = self._over & ~mask
        self._started = True
        return self._obs.clone()

    def _draw(self, mask: Tensor, seeds: list[int | None] | None) -> Tensor:
        """Return starts (E, nq + nv), those of environments with a seed from their own generator.

        Later starts depend on all of the seeds.
        """
        own = {i: s for i, s in enumerate(seeds or []) if s is not None}
        if own:
            self._starts.seed(list(own.values()))
        if len(own) < self.num_envs:
            start = self._starts.take(mask)
        else:
            start = torch.empty(self.num_envs, sum(map(len, self._still)), device=self.device)
        if own:
            rows = [
                draw_start(self._equations, *self._still, seeding.np_random(seed)[0], i)
                for i, seed in own.items()
            ]
            places = torch.tensor(list(own), device=self.device)
            start[places] = torch.from_numpy(np.stack(rows)).to(self.device, torch.float32)
        return start

    def step(self, action: Tensor) -> VecStep:
        """Step with actions (E, act_dim); see VecEnv.step.

        Raises:
            BadInput: if reset() has not been called.
        """
        next_obs, reward, terminated, truncated = self.advance(action)
        obs = self._start(terminated | truncated, None)
        return VecStep(obs, next_obs, reward, terminated, truncated)

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Step with actions (E, act_dim), and restart no environment.

        Returns:
            next_obs (E, obs_dim), reward (E,), terminated (E,), truncated (E,).

        Raises:
            BadInput: if reset() has not been called, or an action on the CPU is not finite.
            EnvironmentFault: if the task raises, or returns another shape.
        """
        if not self._started:
            raise BadInput("step: there is no episode yet; call reset() first")
        self._steps += 1
        action = as_numbers("action", action, (self.num_envs, self.action.dim), finite=True)
        action = action.detach().to(self.device, torch.float32)
        task, before = self._equations, self._now
        control = action
        if task.steers:
            control = call_task("control", task.control, before, action)
            control = self._tensor("what control() returned", control, (self.action.dim,))
        self._physics.control.copy_(control)
        self._physics.step()
        self._now = now = self._fields()
        self._latest = before, action, now
        obs = self._observe(self.obs_dim)
        outcome = call_task("outcome", task.outcome, before, action, now, self._dt)
        reward, terminated = as_pair("outcome", outcome)
        reward = self._tensor("the reward", reward, ())
        sound = self._check(obs, reward)
        self._elapsed = self._elapsed + 1
        terminated = self._tensor("terminated", terminated, ()).bool() & sound
        truncated = ~sound
        if self.max_episode_steps is not None:
            truncated = truncated | (self._elapsed >= self.max_episode_steps)
        self._over = self._over | terminated | truncated
        self._obs = torch.where(sound[:, None], obs, self._obs)
        reward = torch.where(sound, reward, 0.0)
        return self._obs.clone(), reward, terminated, truncated

    def _check(self, obs: Tensor, reward: Tensor) -> Tensor:
        """Return where worlds have not diverged (E,), and count those that have."""
        sound = obs.isfinite().all(1) & reward.isfinite()
        for name in ("qpos", "qvel"):
            sound = sound & (self._now[name].abs() < LARGEST).all(1)  # False for a NaN
        fresh = ~sound & ~self._over
        self._diverged = self._diverged + fresh
        self._diverged_at = self._diverged_at.masked_fill(fresh, self._steps)
        self._overflow = self._overflow | self._physics.overflow
        if self._steps - self._looked >= self._look_every:
            self._report()
        return sound

    def _report(self) -> None:
        """Write into the log what has gone wrong since the latest look."""
        at, overflow = torch.stack((self._diverged_at, self._overflow.long())).cpu().numpy()
        self._say(
            np.flatnonzero(at > self._looked),
            "diverged (a NaN or a number beyond 1e10) and started anew: its step is cut off with "
            "reward 0",
        )
        sizes = {"njmax": self._physics.njmax, "nconmax": self._physics.nconmax}
        for bits, what in _OVERFLOWS.items():
            self._say(np.flatnonzero(overflow & bits & ~self._known), what.format(**sizes))
        self._known |= overflow.astype(np.int32)
        self._looked = self._steps

    def _say(self, indices: np.ndarray, what: str) -> None:
        """Write one line of the log about some environments, none if there are none."""
        if len(indices):
            named = ", ".join(map(str, indices[:_NAMED].tolist()))
            more = f" and {len(indices) - _NAMED} others" if len(indices) > _NAMED else ""
            steps = f"step {self._steps}"
            if self._steps - self._looked > 1:
                steps = f"steps {self._looked + 1} to {self._steps}"
            _log.warning("environment %s%s, %s: %s", named, more, steps, what)

    @property
    def num_diverged(self) -> int:
        """Return how many episodes were cut off because their world diverged."""
        return int(self._diverged.sum())

    @property
    def num_overflowed(self) -> int:
        """Return how many environments had contacts or constraints that did not fit."""
        bits = sum(_OVERFLOWS)
        return int(((self._overflow & bits) != 0).sum())

    def reward_terms(self) -> dict[str, Tensor]:
        """Return the terms of the latest rewards; see HasRewardTerms."""
        if self._latest is None:
            return {}
        before, action, now = self._latest
        info = self._equations.step_info(before, action, now, self._dt)
        return {
            name: torch.as_tensor(info[name]).to(self.device, torch.float32)
            for name in info
            if is_reward_term(name)
        }

    def env_state(self) -> Tensor | None:
        """Return None: sequences are not simulated from given states here."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return physics, lagged fields, starts and counters."""
        self._report()
        return {
            "physics": self._physics.get_state(),
            "fields": {name: field.cpu().clone() for name, field in self._now.items()},
            **{name: getattr(self, f"_{name}").cpu().clone() for name in _TENSORS},
            "starts": self._starts.state_dict(),
            "seeds": self._seeds,
            "steps": self._steps,
            "started": self._started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            ValueError: if it is that of other environments.
        """
        saved = None if "physics" not in state else tuple(state["obs"].shape)
        if saved != (right := tuple(self._obs.shape)):
            raise ValueError(f"state: its observations are {saved}, should be {right}")
        self._physics.set_state(state["physics"])
        self._now = {name: state["fields"][name].to(self.device) for name in self._now}
        for name in _TENSORS:
            setattr(self, f"_{name}", state[name].to(self.device, copy=True))
        self._starts.load_state_dict(state["starts"])
        self._seeds, self._steps = state["seeds"], state["steps"]
        self._started, self._looked = state["started"], state["steps"]
        self._known = self._overflow.cpu().numpy().astype(np.int32)

    def close(self) -> None:
        """Report what has gone wrong since the latest look; the memory is freed with the object."""
        self._report()


_TENSORS = ("obs", "over", "elapsed", "diverged", "diverged_at", "overflow")


def _beside(mask: Tensor, field: Tensor) -> Tensor:
    """Return a mask (E,) in a shape that goes with a field (E, ...)."""
    return mask.reshape(-1, *[1] * (field.ndim - 1))
