"""What the model-free offline learners share: batches, scaled actions, a deterministic policy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer, mix
from mbrl.errors import BadInput, NumericalFault
from mbrl.learners.sac_networks import Adam, forward, initial, layers
from mbrl.nn.generators import restore
from mbrl.types import ActionSpec

FLOOR = 1e-3  # of an observation's standard deviation


class Rows(NamedTuple):
    """What an update sees: normalised observations, actions in [-1, 1]."""

    obs: Tensor  # (B, obs_dim)
    action: Tensor  # (B, act_dim)
    reward: Tensor  # (B,)
    next_obs: Tensor  # (B, obs_dim)
    discount: Tensor  # (B,) 0 where the episode terminated


class Network:
    """num networks of one shape, ReLU, on flat parameters with their Adam.

    Args:
        num: networks, evaluated side by side.
        sizes: widths, input first.
        learning_rate: of Adam.
        generator: source of the weights.
    """

    def __init__(
        self, num: int, sizes: tuple[int, ...], *, learning_rate: float, generator: torch.Generator
    ):
        """Draw the weights."""
        self._num, self._sizes = num, sizes
        self.flat = initial(num, sizes, generator=generator)
        self.adam = Adam(self.flat, learning_rate=learning_rate)

    def __call__(self, *parts: Tensor, flat: Tensor | None = None) -> Tensor:
        """Evaluate on parts (B, n) side by side: (num, out, B); by other weights if given."""
        x = torch.cat(parts, 1).expand(self._num, -1, -1)
        return forward(x, layers(self.flat if flat is None else flat, self._num, self._sizes))

    def weights(self) -> Tensor:
        """Give the weights as a leaf to differentiate by."""
        return self.flat.detach().requires_grad_()

    def descend(self, loss: Tensor, weights: Tensor) -> None:
        """Take a step of Adam along the gradient of the loss by weights()."""
        self.adam.step(*torch.autograd.grad(loss, weights))

    def tensors(self) -> dict[str, Tensor]:
        """Name all that learning changes."""
        moments = self.adam.state().items()
        return {"flat": self.flat} | {kind: parts[0] for kind, parts in moments}


class BatchLearner(ABC):
    """Learn a deterministic policy from batches of a dataset; satisfies PolicyLearner.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous and bounded.
        generator: source of weights, batches and noise; its state is part of state_dict().
        hidden: width of the hidden layers.
        num_layers: hidden layers.
        learning_rate: of Adam.
        discount: per step.
        batch_size: transitions in an update.
        exploration_noise: std of what is added to an action in [-1, 1] that need not be
            deterministic.

    Raises:
        BadInput: if the actions are discrete or unbounded.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        generator: torch.Generator,
        hidden: int = 256,
        num_layers: int = 2,
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        batch_size: int = 256,
        exploration_noise: float = 0.1,
    ):
        """Draw the actor."""
        name = type(self).__name__
        if action.kind != "continuous" or not torch.isfinite(action.high - action.low).all():
            raise BadInput(f"{name} takes continuous actions within bounds; choose another env")
        self._obs_dim, self._act_dim = obs_dim, action.dim
        self._bounds = action
        self._middle = (action.high + action.low) / 2
        self._half = (action.high - action.low) / 2
        self._generator = generator
        self._discount = discount
        self._batch_size = batch_size
        self._noise = exploration_noise
        self._hidden = (hidden,) * num_layers
        self._rate = learning_rate
        self._shift = torch.zeros(obs_dim, device=generator.device)
        self._scale = torch.ones(obs_dim, device=generator.device)
        self.updates = 0
        self.actor = self._network(1, obs_dim, action.dim)

    def _network(self, num: int, inputs: int, outputs: int) -> Network:
        """Draw num networks."""
        sizes = (inputs, *self._hidden, outputs)
        return Network(num, sizes, learning_rate=self._rate, generator=self._generator)

    @abstractmethod
    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Take one step of learning; give its losses."""

    @abstractmethod
    def _value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from normalised obs (B, obs_dim)."""

    @abstractmethod
    def _learned(self) -> dict[str, Tensor]:
        """Name every tensor that learning changes beside the actor's."""

    def policy(self, obs: Tensor, weights: Tensor | None = None) -> Tensor:
        """Give actions (B, act_dim) in [-1, 1] for normalised obs (B, obs_dim)."""
        return self.actor(obs, flat=weights)[0].T.tanh()

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        scaled = self.policy((obs - self._shift) / self._scale)
        if not deterministic:
            noise = torch.randn(scaled.shape, generator=generator, device=scaled.device)
            scaled = scaled + self._noise * noise
        return self._bounds.clip(self._middle + self._half * scaled)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: Any = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Take num_updates steps on batches of real; see PolicyLearner.improve.

        Args:
            real: the dataset; its observations are normalised by what it holds at the first update.
            imagined: not used.
            model_env: not used.
            num_updates: steps.

        Raises:
            NumericalFault: if a loss of the last step is not finite.
        """
        if self.updates == 0:
            obs = real.all().obs
            self._shift.copy_(obs.mean(0))
            self._scale.copy_(obs.std(0, correction=0).clamp(min=FLOOR))
        losses: dict[str, Tensor] = {}
        for _ in range(num_updates):
            self.updates += 1
            losses |= self._update(self._batch(real))
        metrics = {f"train/{name}": loss.item() for name, loss in losses.items()}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NumericalFault(f"{type(self).__name__}: {name} is {value}")
        return metrics

    def _batch(self, real: ReplayBuffer) -> Rows:
        """Draw a batch."""
        drawn = mix(real, None, self._batch_size, real_ratio=1.0, generator=self._generator)[0]
        data = real.unpack(drawn, drawn.new_zeros(len(drawn)))
        return Rows(
            (data.obs - self._shift) / self._scale,
            (data.action - self._middle) / self._half,
            data.reward,
            (data.next_obs - self._shift) / self._scale,
            self._discount * (~data.terminated).to(data.reward.dtype),
        )

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim)."""
        return self._value((obs - self._shift) / self._scale)

    def _tensors(self) -> dict[str, Tensor]:
        """Name every tensor that learning changes."""
        own = {"shift": self._shift, "scale": self._scale}
        return own | named("actor", self.actor) | self._learned()

    def state_dict(self) -> dict[str, Any]:
        """Give networks, moments, normaliser, generator and count."""
        state = self._tensors() | {"generator": self._generator.get_state()}
        return {**{k: x.clone() for k, x in state.items()}, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit.

        Raises:
            BadInput: if the state is of networks of other sizes.
        """
        own = self._tensors()
        for name, tensor in own.items():
            if name not in state or state[name].shape != tensor.shape:
                what = f"{name} is not {tuple(tensor.shape)}"
                raise BadInput(f"the saved {type(self).__name__} does not fit: {what}")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        restore(self._generator, state["generator"])
        self.updates = state["updates"]


def named(prefix: str, network: Network) -> dict[str, Tensor]:
    """Name a network's tensors with a prefix."""
    return {f"{prefix}.{name}": tensor for name, tensor in network.tensors().items()}
