"""Base of the model-free offline learners: batches, scaling, a deterministic policy."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer, mix
from mbrl.errors import BadInput, NumericalFault
from mbrl.learners.sac_networks import forward, initial
from mbrl.learners.unit_actions import UnitActions
from mbrl.nn.flat import Adam, layers
from mbrl.nn.generators import as_generator, restore
from mbrl.nn.normalizer import divisor, spread
from mbrl.nn.products import products_of
from mbrl.roles import ModelVecEnv
from mbrl.types import ActionSpec, as_rows
from mbrl.values import Count, Depth, Fraction, NonNegative, Positive, Width, checked


class Rows(NamedTuple):
    """Batch of an update: normalized observations, actions in [-1, 1]."""

    obs: Tensor  # (B, obs_dim)
    action: Tensor  # (B, A), A components that can move
    reward: Tensor  # (B,)
    next_obs: Tensor  # (B, obs_dim)
    discount: Tensor  # (B,) 0 where the episode terminated


@final
class Network:
    """ReLU networks of one shape on flat parameters, with their Adam optimizer.

    Args:
        num: networks, evaluated at once.
        sizes: widths, input first.
        learning_rate: of Adam.
        generator: source of the weights.
    """

    def __init__(
        self, num: int, sizes: tuple[int, ...], *, learning_rate: float, generator: torch.Generator
    ):
        """Initialize the weights."""
        self._num, self._sizes = num, sizes
        self.flat = initial(num, sizes, generator=generator)
        self.adam = Adam(self.flat, learning_rate=learning_rate)

    def __call__(self, *parts: Tensor, flat: Tensor | None = None) -> Tensor:
        """Return the outputs (num, out, B) for parts (B, n), which are joined.

        Args:
            parts: inputs (B, n).
            flat: weights to use instead of the own ones (num_parameters,).
        """
        x = torch.cat(parts, 1).expand(self._num, -1, -1)
        return forward(x, layers(self.flat if flat is None else flat, self._num, self._sizes))

    def weights(self) -> Tensor:
        """Return the weights (num_parameters,) as a leaf of autograd."""
        return self.flat.detach().requires_grad_()

    def descend(self, loss: Tensor, weights: Tensor) -> None:
        """Update by one step of Adam on a loss, a scalar (), of weights() (num_parameters,)."""
        self.adam.step(*torch.autograd.grad(loss, weights))

    def tensors(self) -> dict[str, Tensor]:
        """Return all that learning changes, by name."""
        moments = self.adam.state().items()
        return {"flat": self.flat} | {kind: parts[0] for kind, parts in moments}


class BatchLearner(ABC):
    """Deterministic policy that is learned from batches of a dataset; a PolicyLearner.

    A subclass adds its losses, and its own parameters to the common ones, which it passes on.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous and bounded.
        generator: source of weights, batches and noise; its state is part of state_dict().
        hidden: width of the hidden layers.
        num_layers: hidden layers.
        learning_rate: step size of Adam.
        discount: per step.
        batch_size: transitions in an update.
        exploration_noise: standard deviation of the noise on actions in [-1, 1] when the policy is
            not asked to be deterministic.

    Raises:
        BadInput: if the actions are discrete or unbounded.
    """

    def __init_subclass__(cls) -> None:
        """Add the common parameters to the signature of a subclass that passes them on."""
        own = inspect.signature(cls.__init__).parameters.values()
        common = inspect.signature(BatchLearner.__init__).parameters
        names = [p.name for p in own if p.kind is not p.VAR_KEYWORD]
        parameters = [p for p in own if p.name in names and p.name != "self"]
        parameters += [p for name, p in common.items() if name not in names]
        setattr(cls, "__signature__", inspect.Signature(parameters))  # noqa: B010

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        generator: torch.Generator | int,
        hidden: Width = 256,
        num_layers: Depth = 2,
        learning_rate: Positive = 3e-4,
        discount: Fraction = 0.99,
        batch_size: Count = 256,
        exploration_noise: NonNegative = 0.1,
    ):
        """Initialize the actor."""
        generator = as_generator(generator, action.low.device)
        name = type(self).__name__
        if action.kind != "continuous" or not torch.isfinite(action.high - action.low).all():
            raise BadInput(f"action: {name} takes continuous actions with finite bounds")
        self._units = UnitActions(action, generator.device)
        self._obs_dim, self._act_dim = obs_dim, self._units.dim
        self._generator = generator
        self._discount = discount
        self._batch_size = batch_size
        self._noise = exploration_noise
        self._hidden = (hidden,) * num_layers
        self._rate = learning_rate
        self._shift = torch.zeros(obs_dim, device=generator.device)
        self._scale = torch.ones(obs_dim, device=generator.device)
        self.updates = 0
        self.actor = self._network(1, obs_dim, self._act_dim)

    def _network(self, num: int, inputs: int, outputs: int) -> Network:
        """Return num new networks."""
        sizes = (inputs, *self._hidden, outputs)
        return Network(num, sizes, learning_rate=self._rate, generator=self._generator)

    @abstractmethod
    def _update(self, rows: Rows) -> dict[str, Tensor]:
        """Update all networks on a batch; return the losses."""

    @abstractmethod
    def _value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from normalized obs (B, obs_dim)."""

    @abstractmethod
    def _learned(self) -> dict[str, Tensor]:
        """Return every tensor that learning changes besides the actor's, by name."""

    def _normalize(self, obs: Tensor) -> Tensor:
        """Return obs (B, obs_dim), checked and normalized, constant components as 0."""
        obs = as_rows("obs", obs, width=self._shift.shape[0], device=self._shift.device)
        return (obs - self._shift) / divisor(self._scale)

    def policy(self, obs: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return actions (B, A) in [-1, 1] for normalized obs (B, obs_dim).

        Args:
            obs: (B, obs_dim).
            weights: of the actor (num_parameters,); None for its own.
        """
        return self.actor(obs, flat=weights)[0].T.tanh()

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        scaled = self.policy(self._normalize(obs))
        if not deterministic:
            noise = torch.randn(scaled.shape, generator=generator, device=scaled.device)
            scaled = scaled + self._noise * noise
        return self._units.to_env(scaled)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ModelVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Update the policy num_updates times with batches of real; see PolicyLearner.improve.

        Args:
            real: the dataset; its statistics at the first update normalize observations.
            imagined: not used.
            model_env: not used.
            num_updates: batches.

        Raises:
            NumericalFault: if a loss of the last step is not finite.
        """
        if self.updates == 0:
            obs = real.all().obs
            self._shift.copy_(obs.mean(0))
            self._scale.copy_(spread(obs))
        losses: dict[str, Tensor] = {}
        with products_of(self._batch_size, max(self._hidden) ** 2):
            for _ in range(num_updates):
                self.updates += 1
                losses |= self._update(self._batch(real))
        metrics = {f"train/{name}": loss.item() for name, loss in losses.items()}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NumericalFault(f"{type(self).__name__}: {name} is {value}")
        return metrics

    def _batch(self, real: ReplayBuffer) -> Rows:
        """Sample a batch of real transitions."""
        packed = mix(real, None, self._batch_size, real_ratio=1.0, generator=self._generator)[0]
        data = real.unpack(packed, packed.new_zeros(len(packed)))
        return Rows(
            self._normalize(data.obs),
            self._units.from_env(data.action),
            data.reward,
            self._normalize(data.next_obs),
            self._discount * (~data.terminated).to(data.reward.dtype),
        )

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from obs (B, obs_dim)."""
        return self._value(self._normalize(obs))

    def _tensors(self) -> dict[str, Tensor]:
        """Return every tensor that learning changes, by name."""
        own = {"shift": self._shift, "scale": self._scale}
        return own | named("actor", self.actor) | self._learned()

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizers, normalizer, generator and counter."""
        state = self._tensors() | {"generator": self._generator.get_state()}
        return {**{k: x.clone() for k, x in state.items()}, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            BadInput: if it is of networks of other sizes.
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
    """Return a network's tensors, their names after a prefix."""
    return {f"{prefix}.{name}": tensor for name, tensor in network.tensors().items()}
