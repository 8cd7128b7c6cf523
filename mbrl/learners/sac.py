"""Soft actor-critic: off-policy learning of a stochastic policy with automatic temperature."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
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
from mbrl.nn.cuda_graphs import Graphed
from mbrl.nn.generators import restore
from mbrl.types import ActionSpec

CHUNK = 16  # batches gathered at once


class AutogradGradients:
    """The losses, written as in the paper.

    Args:
        networks: the parameters, changed in place between the calls.
        target_entropy: what the temperature drives the policy's entropy to.
        conservatism: weight of COMBO's term in the critics' loss; 0 is plain SAC.
        num_real: rows at a batch's head that are real, which that term holds up.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        target_entropy: float,
        conservatism: float = 0.0,
        num_real: int = 0,
    ):
        """Keep the parameters."""
        self._nets = networks
        self._target_entropy = target_entropy
        self._conservatism, self._num_real = conservatism, num_real

    def critic(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the gradients of the critics' and the temperature's loss, flat."""
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
            following = squash(forward(next_obs[None], actor)[0], next_noise, next_base)
            pair = torch.cat([next_obs, following.action.T], 1).expand(2, -1, -1)
            next_q = forward(pair, layers(nets.target, 2, nets.critic_sizes)).amin(0)[0]
            goal = batch.reward + batch.discount * (next_q - temperature * following.log_prob)

        critic = nets.critic.detach().requires_grad_()
        q = forward(batch.taken.expand(2, -1, -1), layers(critic, 2, nets.critic_sizes))
        critic_loss = 0.5 * (q[:, 0] - goal).square().mean(1).sum()
        if self._conservatism and self._num_real < size:  # the policy's actions where it imagines
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
        """Give the actor's gradient on the same batch, through the critics as they are now."""
        pair = torch.cat([self._obs, self._sample.action.T], 1).expand(2, -1, -1)
        critic = layers(self._nets.critic, 2, self._nets.critic_sizes)
        q = forward(pair, critic)[:, 0].min(0).values
        loss = (self._temperature * self._sample.log_prob - q).mean()
        self._metrics["train/actor_loss"] = loss.detach()
        return torch.autograd.grad(loss, self._actor)[0]

    def metrics(self) -> dict[str, Tensor]:
        """Give the losses of the last update."""
        return self._metrics


class SAC:
    """Learn by soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905); a PolicyLearner.

    Losses and the order of updates are those of Stable-Baselines3.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions, continuous and bounded.
        generator: source of weights, batches and noise; its state is part of state_dict().
        hidden: width of the hidden layers of actor and critics.
        num_layers: hidden layers.
        learning_rate: of actor, critics and temperature.
        actor_learning_rate: of the actor alone; None is the same.
        discount: per step.
        tau: share of the critics that enters their targets in an update.
        target_entropy: in nats, of the action scaled to [-1, 1]; None is -act_dim.
        initial_temperature: weight of the entropy at the start.
        batch_size: transitions in an update.
        real_ratio: share of real transitions in a batch where there are imagined ones.
        conservatism: push the critics down at the policy's actions in imagined states and up at
            real ones, by this weight (COMBO, Yu et al. 2021); gradients are then autograd's.
        backward: manual (fast) or autograd; both give the same gradients.
        device: of the networks; that of generator and buffers too.

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
        actor_learning_rate: float | None = None,
        discount: float = 0.99,
        tau: float = 5e-3,
        target_entropy: float | None = None,
        initial_temperature: float = 1.0,
        batch_size: int = 256,
        real_ratio: float = 0.05,
        conservatism: float = 0.0,
        backward: Literal["manual", "autograd"] = "manual",
        device: torch.device | str = "cpu",
    ):
        """Draw the networks."""
        if action.kind != "continuous":
            raise BadInput("learner=sac takes continuous actions; the environment's are discrete")
        if not (torch.isfinite(action.low).all() and torch.isfinite(action.high).all()):
            raise BadInput("learner=sac needs finite action bounds; the environment has none")
        self._obs_dim, self._act_dim = obs_dim, action.dim
        self._middle = ((action.high + action.low) / 2).to(device)
        self._half = ((action.high - action.low) / 2).to(device)
        self._action = action
        self._generator = generator
        self._discount = discount
        self._tau = tau
        self._batch_size = batch_size
        self._real_ratio = real_ratio

        actor_sizes = (obs_dim, *[hidden] * num_layers, 2 * action.dim)
        critic_sizes = (obs_dim + action.dim, *[hidden] * num_layers, 1)
        critic = initial(2, critic_sizes, generator=generator).to(device)
        self.networks = Networks(
            actor_sizes,
            critic_sizes,
            actor=initial(1, actor_sizes, generator=generator).to(device),
            critic=critic,
            target=critic.clone(),
            log_temperature=torch.full((1,), math.log(initial_temperature), device=device),
        )
        entropy = -float(action.dim) if target_entropy is None else target_entropy
        self._gradients: Gradients
        num_real = round(real_ratio * batch_size)
        if conservatism > 0 and not 0 < num_real < batch_size:
            raise BadInput(
                f"learner.real_ratio={real_ratio}: conservatism compares real and imagined rows, "
                "a batch needs both, for example learner.real_ratio=0.5"
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
        slower = actor_learning_rate or learning_rate
        self._actor_adam = Adam(self.networks.actor, learning_rate=slower)
        by_hand = isinstance(self._gradients, ManualGradients)
        self._update = Graphed(self._take_step) if by_hand else self._take_step

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (B, act_dim) in environment units for obs (B, obs_dim)."""
        if deterministic:
            scaled = self._mean_action(obs)
        else:
            head = self._actor_output(obs)
            size = (self._act_dim, obs.shape[0])
            noise = torch.randn(size, generator=generator, device=head.device)
            scaled = squash(head, noise, noise[0]).action.T
        return self._action.clip(self._middle + self._half * scaled)

    def improve(
        self,
        real: ReplayBuffer,
        imagined: ReplayBuffer | None = None,
        model_env: Any = None,
        *,
        num_updates: int = 1,
    ) -> dict[str, float]:
        """Take num_updates gradient steps, each on a fresh batch.

        Args:
            real: transitions of the environment.
            imagined: transitions of the model; None or empty: all rows are real ones.
            model_env: not used.
            num_updates: steps of critics, temperature, actor and targets.

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
        found = self._gradients.metrics()
        metrics = dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NumericalFault(f"SAC: {name} is {value}; the data or learning_rate is off")
        return metrics

    def _take_step(self, *batch: Tensor) -> None:
        """Change critics, temperature, actor and targets by one Batch."""
        nets = self.networks
        self._critic_adam.step(*self._gradients.critic(Batch(*batch)))
        self._actor_adam.step(self._gradients.actor())
        nets.target.lerp_(nets.critic, self._tau)

    def _batches(self, real: ReplayBuffer, imagined: ReplayBuffer | None, num: int) -> list[Batch]:
        """Draw num batches and their noise in one go."""
        size, num_obs, num_act = self._batch_size, self._obs_dim, self._act_dim
        rows = mix(
            real,
            imagined,
            size,
            real_ratio=self._real_ratio,
            num_batches=num,
            generator=self._generator,
        )
        _, action, next_obs, reward, terminated, _ = rows.split(
            [num_obs, num_act, num_obs, 1, 1, 1], dim=2
        )
        action.sub_(self._middle).div_(self._half)
        noise = torch.randn(num, num_act, 2 * size, generator=self._generator, device=rows.device)
        stacked = Batch(
            rows[:, :, : num_obs + num_act],
            next_obs,
            reward[:, :, 0],
            self._discount * (1 - terminated[:, :, 0]),
            noise,
            gaussian_log_prob(noise),
        )
        return [Batch(*parts) for parts in zip(*(x.unbind() for x in stacked), strict=True)]

    @property
    def num_policy_parameters(self) -> int:
        """Count the weights of the actor."""
        return self.networks.actor.numel()

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Estimate the return (B,) from obs (B, obs_dim): the lesser critic at the mean action.

        Entropy is left out of the first step only.
        """
        pair = torch.cat([obs, self._mean_action(obs)], 1).expand(2, -1, -1)
        critic = layers(self.networks.critic, 2, self.networks.critic_sizes)
        return forward(pair, critic).amin(0)[0]

    def _actor_output(self, obs: Tensor) -> Tensor:
        """Give means above log-stds (2 act_dim, B)."""
        return forward(obs[None], layers(self.networks.actor, 1, self.networks.actor_sizes))[0]

    def _mean_action(self, obs: Tensor) -> Tensor:
        """Give tanh of the mean (B, act_dim), in [-1, 1]."""
        return self._actor_output(obs)[: self._act_dim].T.tanh()

    def state_dict(self) -> dict[str, Any]:
        """Give networks, optimiser moments and the generator's state."""
        state = self._tensors() | {"generator": self._generator.get_state()}
        return {name: tensor.clone() for name, tensor in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit.

        Raises:
            BadInput: if the state is of networks of other sizes.
        """
        own = self._tensors()
        for name, tensor in own.items():
            if name not in state or state[name].shape != tensor.shape:
                raise BadInput(f"the saved SAC does not fit: {name} is not {tuple(tensor.shape)}")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        restore(self._generator, state["generator"])

    def _tensors(self) -> dict[str, Tensor]:
        """Name every tensor that learning changes."""
        nets = self.networks._asdict()
        tensors = {name: x for name, x in nets.items() if isinstance(x, Tensor)}
        for name, optimiser in (("critic", self._critic_adam), ("actor", self._actor_adam)):
            for kind, parts in optimiser.state().items():
                tensors |= {f"{name}_adam.{kind}.{i}": part for i, part in enumerate(parts)}
        return tensors
