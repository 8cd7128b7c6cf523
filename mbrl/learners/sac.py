"""Soft actor-critic: off-policy learning of a stochastic policy with an automatic temperature.

AutogradGradients are the losses as in the paper; sac_fused.py has the same gradients, faster.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, final

import torch
from annotated_types import Gt, Le
from torch import Tensor

from mbrl.buffer import ReplayBuffer, mix
from mbrl.errors import BadInput, NumericalFault
from mbrl.learners.sac_fused import ManualGradients
from mbrl.learners.sac_networks import (
    Adam,
    Batch,
    Gradients,
    Networks,
    forward,
    gaussian_log_prob,
    initial,
    layers,
    squash,
)
from mbrl.learners.unit_actions import UnitActions
from mbrl.nn.cuda_graphs import Graphed
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import ModelVecEnv
from mbrl.types import ActionSpec, as_rows
from mbrl.values import (
    Count,
    Depth,
    Finite,
    Fraction,
    InsideIf,
    NonNegative,
    Positive,
    Width,
    checked,
)

CHUNK = 16  # batches sampled at once


@final
class AutogradGradients:
    """Gradients of SAC's losses, written as in the paper, by autograd.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: entropy of the policy that the temperature is adapted to.
        conservatism: weight of COMBO's term in the critics' loss; 0 is plain SAC.
        num_real: first rows of a batch, which are real: that term raises their values.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        target_entropy: float,
        conservatism: float = 0.0,
        num_real: int = 0,
    ):
        """Store the parameters."""
        self._nets = networks
        self._target_entropy = target_entropy
        self._conservatism, self._num_real = conservatism, num_real

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gradients of the critics' and the temperature's loss, flat."""
        nets, size = self._nets, batch.reward.shape[0]
        num_obs = nets.actor_sizes[0]
        obs, next_obs = batch.taken[:, :num_obs], batch.next_obs
        noise, next_noise = batch.noise.split(size, dim=1)
        base, next_base = batch.noise_log_prob.split(size)
        log_temperature = nets.log_temperature.detach().requires_grad_()
        temperature = log_temperature.detach().exp()

        self._actor = nets.actor.detach().requires_grad_()
        actor = layers(self._actor, 1, nets.actor_sizes)
        self._sample = squash(forward(obs[None], actor)[0], noise, base)
        entropy_gap = self._sample.log_prob.detach() + self._target_entropy
        temperature_loss = -(log_temperature * entropy_gap).mean()

        with torch.no_grad():
            next_sample = squash(forward(next_obs[None], actor)[0], next_noise, next_base)
            pair = torch.cat([next_obs, next_sample.action.T], 1).expand(2, -1, -1)
            next_q = forward(pair, layers(nets.target, 2, nets.critic_sizes)).amin(0)[0]
            target = batch.reward + batch.discount * (next_q - temperature * next_sample.log_prob)

        critic = nets.critic.detach().requires_grad_()
        q = forward(batch.taken.expand(2, -1, -1), layers(critic, 2, nets.critic_sizes))
        critic_loss = 0.5 * (q[:, 0] - target).square().mean(1).sum()
        if self._conservatism and self._num_real < size:  # the policy's actions in imagined states
            pair = torch.cat([obs, self._sample.action.detach().T], 1).expand(2, -1, -1)
            imagined = forward(pair, layers(critic, 2, nets.critic_sizes))[:, 0, self._num_real :]
            gap = imagined.mean(1) - q[:, 0, : self._num_real].mean(1)
            critic_loss = critic_loss + self._conservatism * gap.sum()
        self._obs, self._temperature = obs, temperature
        self._metrics = {
            "train/critic_loss": critic_loss.detach(),
            "train/temperature": temperature[0],
            "train/entropy": -self._sample.log_prob.detach().mean(),
            "train/mean_q": q.detach().mean(),
        }
        (critic_gradient,) = torch.autograd.grad(critic_loss, critic)
        (temperature_gradient,) = torch.autograd.grad(temperature_loss, log_temperature)
        return critic_gradient, temperature_gradient

    def actor(self) -> Tensor:
        """Return the actor's gradient on the same batch, through the updated critics."""
        pair = torch.cat([self._obs, self._sample.action.T], 1).expand(2, -1, -1)
        critic = layers(self._nets.critic, 2, self._nets.critic_sizes)
        q = forward(pair, critic)[:, 0].min(0).values
        loss = (self._temperature * self._sample.log_prob - q).mean()
        self._metrics["train/actor_loss"] = loss.detach()
        return torch.autograd.grad(loss, self._actor)[0]

    def metrics(self) -> dict[str, Tensor]:
        """Return the losses of the last update."""
        return self._metrics


@final
class SAC:
    """Soft actor-critic learner (Haarnoja et al. 2018, arXiv:1812.05905).

    Losses and the order of updates are those of Stable-Baselines3. Networks are on the device of
    the generator.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous and bounded.
        generator: source of weights, batches and noise; its state is part of state_dict().
        hidden: width of the hidden layers of actor and critics.
        num_layers: hidden layers.
        learning_rate: step size of actor, critics and temperature.
        actor_learning_rate: step size of the actor; None for learning_rate.
        discount: per step.
        tau: step of the target critics towards the critics at each update.
        target_entropy: in nats, of the action scaled to [-1, 1]; None for minus the number of
            components that can move.
        initial_temperature: weight of the entropy at the start.
        batch_size: transitions in an update.
        real_ratio: fraction of real transitions in a batch, if there are imagined ones.
        conservatism: weight of a term that lowers the critics at the policy's actions in imagined
            states and raises them at real transitions (COMBO, Yu et al. 2021). Gradients are then
            those of autograd.
        backward: how gradients are computed; both give the same ones:
            "manual": by a backward pass written by hand, about twice as fast;
            "autograd": by torch.

    Raises:
        BadInput: if the actions are discrete or unbounded, or conservatism has no batches that mix
            real and imagined transitions.
    """

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
        actor_learning_rate: Positive | None = None,
        discount: Fraction = 0.99,
        tau: Annotated[float, Gt(0), Le(1)] = 5e-3,
        target_entropy: Finite | None = None,
        initial_temperature: Positive = 1.0,
        batch_size: Count = 256,
        real_ratio: Annotated[Fraction, InsideIf("conservatism")] = 0.05,
        conservatism: NonNegative = 0.0,
        backward: Literal["manual", "autograd"] = "manual",
    ):
        """Initialize the networks."""
        generator = as_generator(generator, action.low.device)
        if action.kind != "continuous":
            raise BadInput("action: SAC takes continuous actions; these are discrete")
        if not (torch.isfinite(action.low).all() and torch.isfinite(action.high).all()):
            raise BadInput("action: SAC needs finite bounds of the actions; these have none")
        device = generator.device
        self._units = UnitActions(action, device)
        self._obs_dim, self._act_dim = obs_dim, self._units.dim
        self._env_act_dim = action.dim
        self._generator = generator
        self._discount = discount
        self._tau = tau
        self._batch_size = batch_size
        self._real_ratio = real_ratio

        actor_sizes = (obs_dim, *[hidden] * num_layers, 2 * self._act_dim)
        critic_sizes = (obs_dim + self._act_dim, *[hidden] * num_layers, 1)
        critic = initial(2, critic_sizes, generator=generator).to(device)
        self.networks = Networks(
            actor_sizes,
            critic_sizes,
            actor=initial(1, actor_sizes, generator=generator).to(device),
            critic=critic,
            target=critic.clone(),
            log_temperature=torch.full((1,), math.log(initial_temperature), device=device),
        )
        entropy = -float(self._act_dim) if target_entropy is None else target_entropy
        self._gradients: Gradients
        num_real = round(real_ratio * batch_size)
        if conservatism > 0 and not 0 < num_real < batch_size:
            raise BadInput(
                f"real_ratio={real_ratio}: conservatism compares real and imagined transitions, a "
                "batch needs both, for example real_ratio=0.5"
            )
        if backward == "manual" and conservatism == 0:
            self._gradients = ManualGradients(
                self.networks, target_entropy=entropy, batch_size=batch_size
            )
        else:
            self._gradients = AutogradGradients(
                self.networks,
                target_entropy=entropy,
                conservatism=conservatism,
                num_real=num_real,
            )
        self._critic_adam = Adam(
            self.networks.critic, self.networks.log_temperature, learning_rate=learning_rate
        )
        self._actor_adam = Adam(
            self.networks.actor, learning_rate=actor_learning_rate or learning_rate
        )
        manual = isinstance(self._gradients, ManualGradients)
        self._update = Graphed(self._update_networks) if manual else self._update_networks

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        obs = self._rows(obs)
        if deterministic:
            scaled = self._mean_action(obs)
        else:
            head = self._actor_output(obs)
            size = (self._act_dim, obs.shape[0])
            noise = torch.randn(size, generator=generator, device=head.device)
            scaled = squash(head, noise, noise[0]).action.T
        return self._units.to_env(scaled)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: ModelVecEnv | None = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Update all networks num_updates times, each time on a new batch.

        Args:
            real: transitions of the environment.
            imagined: transitions of the model; if None or empty, batches are all real.
            model_env: not used.
            num_updates: updates of critics, temperature, actor and target critics.

        Returns:
            Metrics of the last step; empty without one.

        Raises:
            NumericalFault: if a loss of the last step is not finite.
        """
        if num_updates < 1:
            return {}
        for done in range(0, num_updates, CHUNK):
            for batch in self._batches(real, imagined, min(CHUNK, num_updates - done)):
                self._update(*batch)
        losses = self._gradients.metrics()
        metrics = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NumericalFault(f"SAC: {name} is {value}; the data or learning_rate is off")
        return metrics

    def _update_networks(self, *batch: Tensor) -> None:
        """Update critics, temperature, actor and target critics on the tensors of a Batch."""
        nets = self.networks
        self._critic_adam.step(*self._gradients.critic(Batch(*batch)))
        self._actor_adam.step(self._gradients.actor())
        nets.target.lerp_(nets.critic, self._tau)

    def _batches(self, real: ReplayBuffer, imagined: ReplayBuffer | None, num: int) -> list[Batch]:
        """Sample num batches and their noise at once."""
        size, num_obs, num_act = self._batch_size, self._obs_dim, self._act_dim
        rows = mix(
            real,
            imagined,
            size,
            real_ratio=self._real_ratio,
            num_batches=num,
            generator=self._generator,
        )
        obs, action, next_obs, reward, terminated, _ = rows.split(
            [num_obs, self._env_act_dim, num_obs, 1, 1, 1], dim=2
        )
        noise = torch.randn(num, num_act, 2 * size, generator=self._generator, device=rows.device)
        stacked = Batch(
            torch.cat([obs, self._units.from_env(action)], 2),
            next_obs,
            reward[:, :, 0],
            self._discount * (1 - terminated[:, :, 0]),
            noise,
            gaussian_log_prob(noise),
        )
        return [Batch(*parts) for parts in zip(*(x.unbind() for x in stacked), strict=True)]

    @property
    def num_policy_parameters(self) -> int:
        """Return the number of the actor's weights."""
        return self.networks.actor.numel()

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from obs (B, obs_dim): the smaller critic value.

        It is that of the mean action; the entropy of this first action is left out.
        """
        obs = self._rows(obs)
        pair = torch.cat([obs, self._mean_action(obs)], 1).expand(2, -1, -1)
        critic = layers(self.networks.critic, 2, self.networks.critic_sizes)
        return forward(pair, critic).amin(0)[0]

    def _rows(self, obs: Tensor) -> Tensor:
        """Return checked observations (B, obs_dim)."""
        return as_rows("obs", obs, width=self._obs_dim, device=self._generator.device)

    def _actor_output(self, obs: Tensor) -> Tensor:
        """Return means above log standard deviations (2 A, B) for obs (B, obs_dim)."""
        return forward(obs[None], layers(self.networks.actor, 1, self.networks.actor_sizes))[0]

    def _mean_action(self, obs: Tensor) -> Tensor:
        """Return the mean actions (B, A) in [-1, 1] for obs (B, obs_dim)."""
        return self._actor_output(obs)[: self._act_dim].T.tanh()

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizer moments and the generator's state."""
        state = self._tensors() | {"generator": self._generator.get_state()}
        return {name: tensor.clone() for name, tensor in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            BadInput: if it is of networks of other sizes.
        """
        own = self._tensors()
        for name, tensor in own.items():
            if name not in state or state[name].shape != tensor.shape:
                raise BadInput(f"the saved SAC does not fit: {name} is not {tuple(tensor.shape)}")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        restore(self._generator, state["generator"])

    def _tensors(self) -> dict[str, Tensor]:
        """Return every tensor that learning changes, by name."""
        nets = self.networks._asdict()
        tensors = {name: x for name, x in nets.items() if isinstance(x, Tensor)}
        for name, adam in (("critic", self._critic_adam), ("actor", self._actor_adam)):
            for kind, parts in adam.state().items():
                tensors |= {f"{name}_adam.{kind}.{i}": part for i, part in enumerate(parts)}
        return tensors
