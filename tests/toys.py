"""The smallest implementation of every role: a damped point that is to be brought to zero."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.imagination.rollout import rollout
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import RELU, Layer, PiecewiseLinearCost, ReluNetwork, Term
from mbrl.roles import Agent, Dynamics, Plan, Planner, VecStep
from mbrl.types import ActionSpec, Prediction, Task, Transitions

ACTION = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([1.0]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return -next_obs.square().sum(-1) - 0.1 * action.square().sum(-1)


def terminated(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    return next_obs[:, 0].abs() > 3


TASK = Task(reward=reward, terminated=terminated, obs_names=("position", "velocity"))


def move(obs: Tensor, action: Tensor) -> Tensor:
    velocity = 0.9 * obs[:, 1] + 0.3 * action[:, 0]
    return torch.stack([obs[:, 0] + 0.3 * velocity, velocity], 1)


class ToyEnv:
    """VecEnv: starts uniformly in [-1, 1]^2, 20 steps, ends beyond |position| = 3."""

    obs_dim = 2
    action = ACTION
    task = TASK
    max_episode_steps: int | None = 20

    def __init__(self, num_envs: int = 1):
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self._generators = [generator(i) for i in range(num_envs)]
        self._obs = torch.zeros(num_envs, 2)
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64)

    def _start(self, i: int) -> None:
        self._obs[i] = torch.rand(2, generator=self._generators[i]) * 2 - 1
        self._elapsed[i] = 0

    def reset(self, seed: int | None = None) -> Tensor:
        for i in range(self.num_envs):
            if seed is not None:
                self._generators[i].manual_seed(seed + i)
            self._start(i)
        return self._obs.clone()

    def step(self, action: Tensor) -> VecStep:
        before, action = self._obs, ACTION.clip(action)
        after = move(before, action)
        self._elapsed += 1
        ended = terminated(before, action, after)
        truncated = (self._elapsed >= 20) & ~ended
        self._obs = after.clone()
        for i in torch.nonzero(ended | truncated).flatten().tolist():
            self._start(i)
        earned = reward(before, action, after)
        return VecStep(self._obs.clone(), after, earned, ended, truncated)

    def env_state(self) -> Tensor | None:
        return self._obs.clone()

    def simulate(
        self, state: Tensor, action: Tensor, *, with_state: bool = False
    ) -> tuple[Prediction, Tensor | None]:
        seen = []
        for given in action.unbind(1):
            before, given = state, ACTION.clip(given)
            state = move(before, given)
            ended = terminated(before, given, state)
            seen.append((state, reward(before, given, state), ended, torch.ones_like(ended)))
        parts: list[Any] = [torch.stack(x, 1) for x in zip(*seen, strict=True)]
        return Prediction(*parts, None), state

    def state_dict(self) -> dict[str, Any]:
        states = [g.get_state() for g in self._generators]
        return {"obs": self._obs, "elapsed": self._elapsed, "generators": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._obs, self._elapsed = state["obs"].clone(), state["elapsed"].clone()
        for own, saved in zip(self._generators, state["generators"], strict=True):
            own.set_state(saved)

    def close(self) -> None:
        pass


class ToyModel:
    """Model: the true equations; the belief is obs itself."""

    learned = True  # so that an agent takes it for a Dynamics

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs.repeat(num_particles, 1)

    def observe(self, state, action, obs, env_state=None):
        return obs.repeat(state.shape[0] // obs.shape[0], 1)

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        after = move(state, action)
        if generator is not None:
            after = after + 0.01 * torch.randn(after.shape, generator=generator)
        ended = terminated(state, action, after)
        doubt = state.norm(dim=1) if with_uncertainty else None
        valid = torch.ones_like(ended)
        return after, Prediction(after, reward(state, action, after), ended, valid, doubt)


def toy_relu_model() -> Exact:
    """PiecewiseLinearModel: the true equations and two ReLUs, an L1 cost."""
    velocity = [0.0, 0.9, 0.3, 0.1, -0.1]
    weight = np.array([[1.0, *(0.3 * x for x in velocity[1:])], velocity])
    layer = Layer(
        np.array([[1.0, 0.5, 0.2], [-1, 1, 0]]), np.array([0.1, 0]), np.full(2, RELU, np.int8)
    )
    cost = PiecewiseLinearCost((Term("l1", np.diag([1.0, 0.2, 0.1]), np.zeros(3)),))
    return Exact(ReluNetwork((layer,), weight, np.zeros(2), 2), cost)


class ToyDynamics(Dynamics):
    """Dynamics: linear least squares for the change of obs and the reward."""

    def __init__(self, obs_dim: int = 2, act_dim: int = 1, task: Task = TASK):
        super().__init__()
        self.register_buffer("matrix", torch.zeros(obs_dim + act_dim + 1, obs_dim + 1))
        self._task = task

    def _features(self, obs, action):
        return torch.cat([obs, action, torch.ones_like(obs[:, :1])], 1)

    def fit(self, data, *, generator):
        x = self._features(data.obs, data.action)
        y = torch.cat([data.next_obs - data.obs, data.reward[:, None]], 1)
        solution = torch.linalg.lstsq(x.double(), y.double()).solution
        self.matrix.copy_(solution.round(decimals=7))  # LAPACK's last bits vary between calls
        return {"model/holdout_mse": (x @ self.matrix - y).square().mean().item()}

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs.repeat(num_particles, 1)

    def observe(self, state, action, obs, env_state=None):
        return obs.repeat(state.shape[0] // obs.shape[0], 1)

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        out = self._features(state, action) @ self.matrix
        after = state + out[:, :-1]
        if generator is not None:
            after = after + 0.01 * torch.randn(after.shape, generator=generator)
        ended = torch.zeros_like(out[:, 0], dtype=torch.bool)
        doubt = state.norm(dim=1) if with_uncertainty else None
        return after, Prediction(after, out[:, -1], ended, ~ended, doubt)

    def uncertainty(self, obs, action):
        return obs.norm(dim=1)


class ToyPlanner(Planner):
    """Planner: random shooting."""

    def __init__(self, action: ActionSpec = ACTION, horizon: int = 5, num_samples: int = 64):
        self.action, self.horizon, self.num_samples = action, horizon, num_samples
        self.num_particles = self.action_hold = 1

    def start(self, num_envs):
        return torch.zeros(num_envs, 0)

    def plan(self, state, model, *, generator, previous=None, deadline=None):
        envs = state.shape[0]
        draws = self.action.sample(envs * self.num_samples * self.horizon, generator=generator)
        actions = draws.view(envs, self.num_samples, self.horizon, self.action.dim)
        value = rollout(model, state, actions).value
        best = value.argmax(1)
        rows = torch.arange(envs)
        return Plan(actions[rows, best], value[rows, best], None, {})


class ToySelector:
    """ActionSelector: push back against position and velocity."""

    def select(self, obs, *, generator, deterministic=False):
        action = -obs.sum(1, keepdim=True)
        if not deterministic:
            action = action + 0.1 * torch.randn(action.shape, generator=generator)
        return ACTION.clip(action)


class ToyLearner:
    """PolicyLearner: hill climbing on the gain by the mean reward of what it is shown."""

    def __init__(self):
        self.gain = torch.zeros(2)
        self._generator = generator(7)

    def select(self, obs, *, generator, deterministic=False):
        action = obs @ self.gain[:, None]
        if not deterministic:
            action = action + 0.1 * torch.randn(action.shape, generator=generator)
        return ACTION.clip(action)

    def improve(self, real, imagined=None, model_env=None, *, num_updates=1):
        source = imagined if imagined is not None and len(imagined) else real
        for _ in range(num_updates):
            obs = source.sample(8, generator=self._generator).obs
            other = self.gain + 0.1 * torch.randn(2, generator=self._generator)
            if self._score(obs, other) > self._score(obs, self.gain):
                self.gain = other
        return {"train/gain": self.gain[0].item()}

    def _score(self, obs, gain):
        action = ACTION.clip(obs @ gain[:, None])
        return reward(obs, action, move(obs, action)).mean()

    def value(self, obs):
        return -obs.square().sum(1)

    def state_dict(self):
        return {"gain": self.gain, "generator": self._generator.get_state()}

    def load_state_dict(self, state):
        self.gain = state["gain"].clone()
        self._generator.set_state(state["generator"])


class ToyAgent(Agent):
    """Agent: the selector, nothing learned."""

    def __init__(self):
        self._selector = ToySelector()
        self._generator = generator(3)

    def act(self, obs, *, explore, env_state=None):
        return self._selector.select(obs, generator=self._generator, deterministic=not explore)

    def update(self, buffer):
        return {}

    def reset(self, done=None, *, explore=True):
        pass

    def state_dict(self):
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state):
        self._generator.set_state(state["generator"])


def toy_penalty(transition: Transitions, model: Any, learner: Any) -> Tensor:
    """Penalty: the distance from the origin."""
    return transition.obs.norm(dim=1)


def collect(env: Any, steps: int, seed: int = 0) -> ReplayBuffer:
    """Fill a buffer with random actions in any VecEnv."""
    buffer = ReplayBuffer(steps * env.num_envs, env.obs_dim, env.action.dim)
    draws, obs = generator(seed), env.reset(seed)
    episode = torch.arange(env.num_envs)
    for _ in range(steps):
        action = env.action.sample(env.num_envs, generator=draws)
        out = env.step(action)
        buffer.add(
            Transitions(
                obs, action, out.reward, out.next_obs, out.terminated, out.truncated, episode
            )
        )
        episode = episode + env.num_envs * (out.terminated | out.truncated)
        obs = out.obs
    return buffer
