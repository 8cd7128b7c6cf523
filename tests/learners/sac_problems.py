"""Small problems for SAC, and the gradients of its losses."""

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.learners import SAC
from mbrl.learners.sac_fused import ManualGradients
from mbrl.learners.sac_networks import Batch, Networks, gaussian_log_prob, initial
from mbrl.nn.flat import Adam, layers
from mbrl.types import ActionSpec, Transitions

Backward = Literal["manual", "autograd"]


BACKWARDS: list[Backward] = ["manual", "autograd"]


both = pytest.mark.parametrize("backward", BACKWARDS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bounds(*pairs: tuple[float, float]) -> ActionSpec:
    low, high = torch.tensor(pairs).T
    return ActionSpec("continuous", low.contiguous(), high.contiguous())


SQUARE = bounds((-1.0, 1.0), (-2.0, 6.0))


def experience(num: int, obs_dim: int = 3, action: ActionSpec = SQUARE) -> ReplayBuffer:
    g = seeded(9)
    obs = torch.randn(num, obs_dim, generator=g)
    next_obs = torch.randn(num, obs_dim, generator=g)
    terminated = torch.rand(num, generator=g) < 0.2
    truncated = torch.rand(num, generator=g) < 0.2
    buffer = ReplayBuffer(num, obs_dim, action.dim)
    taken = action.sample(num, generator=g)
    buffer.add(
        Transitions(obs, taken, obs[:, 0], next_obs, terminated, truncated, torch.arange(num))
    )
    return buffer


def small(backward: Backward = "manual", seed: int = 0, **changes) -> SAC:
    settings = {"obs_dim": 3, "action": SQUARE, "hidden": 16, "batch_size": 32} | changes
    return SAC(generator=seeded(seed), backward=backward, **settings)


def problem(
    seed: int,
    obs_dim: int,
    act_dim: int,
    hidden: list[int],
    size: int,
    gain: float,
    dtype,
    num_seeds: int = 1,
) -> tuple[Networks, Batch]:
    g = seeded(seed)
    actor_sizes, critic_sizes = (
        (obs_dim, *hidden, 2 * act_dim),
        (obs_dim + act_dim, *hidden, 1),
    )
    actor = initial(num_seeds, actor_sizes, generator=g).to(dtype)
    last = layers(actor, num_seeds, actor_sizes)[-1][0]
    last.mul_(gain)  # a large one drives log_std out of bounds
    critics = 2 * num_seeds
    critic, target = (initial(critics, critic_sizes, generator=g).to(dtype) for _ in range(2))
    temperature = 0.3 * torch.randn(num_seeds, generator=g).to(dtype)
    networks = Networks(actor_sizes, critic_sizes, actor, critic, target, temperature)

    def draw(*shape: int) -> Tensor:
        return torch.randn(num_seeds, *shape, generator=g).to(dtype)

    noise = draw(act_dim, 2 * size)
    obs, action, next_obs = draw(size, obs_dim), draw(size, act_dim).tanh(), draw(size, obs_dim)
    reward, discount = draw(size), 0.9 * (draw(size) < 0.5).to(dtype)
    return networks, batch_of(obs, action, next_obs, reward, discount, noise)


def batch_of(
    obs: Tensor, action: Tensor, next_obs: Tensor, reward: Tensor, discount: Tensor, noise: Tensor
) -> Batch:
    """Batch of rows (S, B, ...) and noise (S, A, 2B)."""
    num_copies = 1 if len(obs) == 1 else 2
    taken = torch.cat([obs, action], 2)
    pairs = torch.cat([torch.cat([obs, next_obs], 1), torch.zeros_like(noise.mT)], 2)
    taken, pairs = (x[:, None].repeat(1, num_copies, 1, 1) for x in (taken, pairs))
    return Batch(taken, pairs, reward, discount, noise, gaussian_log_prob(noise))


def gradients(
    kind: type, networks: Networks, batch: Batch, *, bfloat16: bool = False
) -> dict[str, Tensor]:
    """One update's gradients and metrics; the critics move in between."""
    networks, options = copy.deepcopy(networks), {"target_entropy": -1.5, "bfloat16": bfloat16}
    if kind is ManualGradients:
        found = ManualGradients(networks, batch_size=batch.reward.shape[1], **options)
    else:
        found = kind(networks, **options)
    critic, temperature = found.critic(batch)
    Adam(networks.critic, learning_rate=0.01).step(critic)
    return {
        "critic": critic,
        "temperature": temperature,
        "actor": found.actor(),
        "moved": networks.critic,
        **found.metrics(),
    }
