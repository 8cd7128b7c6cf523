"""Soft actor-critic: off-policy learning of a stochastic policy with an automatic temperature.

sac_losses.py has the losses as in the paper, sac_fused.py the same gradients, faster, and
sac_updates.py an update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, final

import torch
from annotated_types import Gt, Le
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.learners.sac_networks import Networks, forward, initial, squash
from mbrl.learners.sac_updates import Settings, Updates, merged
from mbrl.learners.unit_actions import UnitActions
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
            "manual": by a backward pass written by hand, 1.7 to 2.6 times as fast;
            "autograd": by torch.
        precision: of the products in an update:
            "fp32": float32;
            "bf16": large products between hidden layers have factors and results rounded to
                bfloat16 and sum in float32; weights, optimizer moments, targets and log
                probabilities stay float32, and so do the first and the last layer. Faster on
                processors with bfloat16 (AVX512-BF16, AMX, ARM's) and GPUs where hidden is 128 or
                more; slower, and as good, on others. The policy acts in float32.

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
        precision: Literal["fp32", "bf16"] = "fp32",
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
        self._generator = generator

        actor_sizes = (obs_dim, *[hidden] * num_layers, 2 * self._act_dim)
        critic_sizes = (obs_dim + self._act_dim, *[hidden] * num_layers, 1)
        critic = initial(2, critic_sizes, generator=generator).to(device)
        networks = Networks(
            actor_sizes,
            critic_sizes,
            actor=initial(1, actor_sizes, generator=generator).to(device),
            critic=critic,
            target=critic.clone(),
            log_temperature=torch.full((1,), math.log(initial_temperature), device=device),
        )
        settings = Settings(
            batch_size=batch_size,
            real_ratio=real_ratio,
            discount=discount,
            tau=tau,
            target_entropy=-float(self._act_dim) if target_entropy is None else target_entropy,
            learning_rate=learning_rate,
            actor_learning_rate=actor_learning_rate or learning_rate,
            conservatism=conservatism,
            manual=backward == "manual" and conservatism == 0,
            bfloat16=precision == "bf16",
        )
        if conservatism > 0 and not 0 < settings.num_real < batch_size:
            raise BadInput(
                f"real_ratio={real_ratio}: conservatism compares real and imagined transitions, a "
                "batch needs both, for example real_ratio=0.5"
            )
        self._join(Updates(networks, settings, self._units, [generator]), 0)

    def _join(self, updates: Updates, seed: int) -> None:
        """Store which updates this learner takes part in, and as which of their seeds."""
        self._updates, self._seed = updates, seed
        self._actor, self._critic = updates.actor(seed), updates.critic(seed)

    @property
    def networks(self) -> Networks:
        """Return all parameters; copies of them in a stack of learners."""
        return self._updates.networks_of(self._seed)

    @staticmethod
    def stack(parts: Sequence[SAC]) -> SACStack:
        """Return learners that differ in their seeds as one that updates them all as a batch.

        Args:
            parts: of one seed each; they act, and are saved, as before.

        Raises:
            BadInput: if they differ in more than their numbers.
        """
        updates = merged([each._updates for each in parts])
        for seed, each in enumerate(parts):
            each._join(updates, seed)
        return SACStack(updates)

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
            Metrics of the last step; empty without one. On a GPU those of one call in a hundred,
            because reading them waits for the updates.

        Raises:
            NumericalFault: if a loss of the last step is not finite; on a GPU, of one that is read.
            BadInput: if it learns in a stack.
        """
        if self._updates.num_seeds > 1:
            raise BadInput("learner: is one of a stack of learners; update the stack")
        if num_updates < 1:
            return {}
        return self._updates.run([real], [imagined], num_updates)[0]

    @property
    def num_policy_parameters(self) -> int:
        """Return the number of the actor's weights."""
        return sum(x.numel() for layer in self._actor for x in layer)

    @torch.no_grad()
    def value(self, obs: Tensor) -> Tensor:
        """Return estimated returns (B,) from obs (B, obs_dim): the smaller critic value.

        It is that of the mean action; the entropy of this first action is left out.
        """
        obs = self._rows(obs)
        pair = torch.cat([obs, self._mean_action(obs)], 1).expand(2, -1, -1)
        return forward(pair, self._critic).amin(0)[0]

    def _rows(self, obs: Tensor) -> Tensor:
        """Return checked observations (B, obs_dim)."""
        return as_rows("obs", obs, width=self._obs_dim, device=self._generator.device)

    def _actor_output(self, obs: Tensor) -> Tensor:
        """Return means above log standard deviations (2 A, B) for obs (B, obs_dim)."""
        return forward(obs[None], self._actor)[0]

    def _mean_action(self, obs: Tensor) -> Tensor:
        """Return the mean actions (B, A) in [-1, 1] for obs (B, obs_dim)."""
        return self._actor_output(obs)[: self._act_dim].T.tanh()

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimizer moments and the generator's state.

        Raises:
            NumericalFault: if a loss that was not read yet is not finite.
        """
        self._updates.check_unread()
        tensors = self._updates.tensors(self._seed)
        state = tensors | {"generator": self._generator.get_state()}
        return {name: tensor.clone() for name, tensor in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict.

        Raises:
            BadInput: if it is of networks of other sizes.
        """
        for name, tensor in self._updates.tensors(self._seed).items():
            if name not in state or state[name].shape != tensor.shape:
                raise BadInput(f"the saved SAC does not fit: {name} is not {tuple(tensor.shape)}")
        self._updates.load(self._seed, state)
        restore(self._generator, state["generator"])


@final
class SACStack:
    """SAC learners of S seeds, updated as one batch; SAC.stack makes it.

    Args:
        updates: of all of them.
    """

    def __init__(self, updates: Updates):
        """Store the updates."""
        self._updates = updates
        self._actor = updates.actor()

    @torch.no_grad()
    def select(
        self, obs: Sequence[Tensor], *, generators: Sequence[torch.Generator]
    ) -> list[Tensor]:
        """Return actions (B, act_dim) in environment units for each seed's obs (B, obs_dim).

        Args:
            obs: of each seed.
            generators: source of each seed's noise.
        """
        rows = torch.stack(list(obs))
        head = forward(rows, self._actor)  # (S, 2 A, B)
        size = (head.shape[1] // 2, rows.shape[1])
        noise = torch.stack([torch.randn(size, generator=g, device=g.device) for g in generators])
        action = squash(head, noise, noise[:, 0]).action.mT
        return list(self._updates.units.to_env(action).unbind())

    def improve(
        self,
        real: Sequence[ReplayBuffer],
        imagined: Sequence[ReplayBuffer | None],
        *,
        num_updates: int = 1,
    ) -> list[dict[str, float]]:
        """Update all networks of all seeds num_updates times; see SAC.improve.

        Args:
            real: transitions of each seed's environment.
            imagined: those of its model.
            num_updates: of each seed.

        Returns:
            Metrics of each seed.

        Raises:
            NumericalFault: if a loss that was read is not finite.
        """
        if num_updates < 1:
            return [{} for _ in real]
        return self._updates.run(real, imagined, num_updates)
