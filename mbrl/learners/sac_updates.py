"""Updates of soft actor-critic, of S seeds as one batch: batches, gradients, Adam, targets.

A learner alone is S = 1. Each seed has its own networks, replay buffers and generator, and draws
from it what it would draw alone, in the same order. Drawing and updating need no value on the host:
on a GPU CHUNK updates, their draws included, are one CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, NumericalFault
from mbrl.learners.sac_batches import CHUNK, Batches, Sources
from mbrl.learners.sac_fused import ManualGradients
from mbrl.learners.sac_losses import AutogradGradients
from mbrl.learners.sac_networks import (
    Batch,
    Gradients,
    Networks,
)
from mbrl.learners.unit_actions import UnitActions
from mbrl.nn.cuda_graphs import Graphed
from mbrl.nn.flat import Adam, Layers, group_of, layers, merge
from mbrl.nn.products import products_of
from mbrl.types import read_waits

READ_EVERY = 100  # calls between two reads of the losses, where a read waits


@final
@dataclass(frozen=True)
class Settings:
    """Settings of the updates; their meaning is that of SAC's parameters of these names."""

    batch_size: int
    real_ratio: float
    discount: float
    tau: float
    target_entropy: float
    learning_rate: float
    actor_learning_rate: float
    conservatism: float
    manual: bool
    bfloat16: bool

    @property
    def num_real(self) -> int:
        """Return the number of real rows in a batch that mixes real and imagined ones."""
        return round(self.real_ratio * self.batch_size)


@final
class Updates:
    """Updates of all networks of S seeds.

    Args:
        networks: the parameters, changed in place.
        settings: the same of all seeds.
        units: conversion of actions in the buffers.
        generators: of each seed, source of its batches and noise.
    """

    def __init__(
        self,
        networks: Networks,
        settings: Settings,
        units: UnitActions,
        generators: Sequence[torch.Generator],
    ):
        """Start with moments of zero."""
        self.networks = networks
        self.settings = settings
        self.units = units
        self.generators = list(generators)
        self.num_seeds = networks.num_seeds
        self.batches = Batches(
            units,
            generators,
            obs_dim=networks.actor_sizes[0],
            batch_size=settings.batch_size,
            real_ratio=settings.real_ratio,
            discount=settings.discount,
        )
        common: dict[str, Any] = {
            "target_entropy": settings.target_entropy,
            "bfloat16": settings.bfloat16,
        }
        self._gradients: Gradients
        if settings.manual:
            self._gradients = ManualGradients(networks, batch_size=settings.batch_size, **common)
        else:
            self._gradients = AutogradGradients(
                networks,
                conservatism=settings.conservatism,
                num_real=settings.num_real,
                **common,
            )
        self._critic_adam = Adam(
            networks.critic, networks.log_temperature, learning_rate=settings.learning_rate
        )
        self._actor_adam = Adam(networks.actor, learning_rate=settings.actor_learning_rate)
        self._names: list[str] = []  # of the losses
        self._losses = networks.actor.new_zeros(self.num_seeds, 5)
        self._read: list[dict[str, float]] = [{} for _ in self.generators]
        self._num_calls, self._unread = 0, False
        self._loaded: dict[int, float] = {}  # steps of Adam that a seed was loaded with
        graphed = Graphed(self._run_manually, networks.actor.device, generators=self.generators)
        self._chunk = graphed if settings.manual else self._run_eagerly

    def run(
        self,
        real: Sequence[ReplayBuffer],
        imagined: Sequence[ReplayBuffer | None],
        num_updates: int,
    ) -> list[dict[str, float]]:
        """Update all networks num_updates times, each time on a new batch.

        Args:
            real: transitions of each seed's environment.
            imagined: those of its model; where None or empty, batches are all real.
            num_updates: of each seed.

        Returns:
            Metrics of each seed's last step; where reading them would wait for the updates, of the
            last step whose metrics were read, one call in READ_EVERY.

        Raises:
            NumericalFault: if a loss that was read is not finite.
            BadInput: if the seeds were loaded after different numbers of updates.
        """
        if len(set(self._loaded.values())) > 1:
            raise BadInput(f"the saved SACs are of several numbers of updates: {self._loaded}")
        self._loaded.clear()
        sources = tuple(_filled(*each) for each in zip(real, imagined, strict=True))
        for done in range(0, num_updates, CHUNK):
            self._chunk(options=(min(CHUNK, num_updates - done), sources))
        self._num_calls += 1
        self._unread = read_waits(self._losses) and self._num_calls % READ_EVERY != 1
        if not self._unread:
            self.check()
        return [dict(each) for each in self._read]

    def check_unread(self) -> None:
        """Read and check the losses of the last update if that was not done.

        Raises:
            NumericalFault: if one is not finite.
        """
        if self._unread:
            self._unread = False
            self.check()

    def check(self) -> None:
        """Read and check the losses of the last update.

        Raises:
            NumericalFault: if one is not finite.
        """
        for seed, row in enumerate(self._losses.tolist() if self._names else ()):
            self._read[seed] = dict(zip(self._names, row, strict=True))
            for name, value in self._read[seed].items():
                if not math.isfinite(value):
                    who = "SAC" if self.num_seeds == 1 else f"SAC number {seed}"
                    raise NumericalFault(
                        f"{who}: {name} is {value}; the data or learning_rate is off"
                    )

    @torch.inference_mode()
    def _run_manually(self, num: int, sources: Sources) -> None:
        """Run a chunk without autograd, whose bookkeeping costs time in every operation."""
        self._run_chunk(num, sources)

    def _run_eagerly(self, *, options: tuple[int, Sources]) -> None:
        """Run a chunk whose gradients are those of autograd, which no graph replays."""
        _, *hidden, _ = self.networks.critic_sizes
        with products_of(self.settings.batch_size, max(hidden) ** 2):
            self._run_chunk(*options)

    def _run_chunk(self, num: int, sources: Sources) -> None:
        """Draw num batches and update on each."""
        for batch in self.batches.draw(sources, num):
            self.step(batch)
        losses = self._gradients.metrics()
        self._names = list(losses)
        torch.stack(list(losses.values()), 1, out=self._losses)

    def step(self, batch: Batch) -> None:
        """Update critics, temperature, actor and target critics on a batch."""
        nets = self.networks
        self._critic_adam.step(*self._gradients.critic(batch))
        self._actor_adam.step(self._gradients.actor())
        nets.target.lerp_(nets.critic, self.settings.tau)

    def actor(self, seed: int | None = None) -> Layers:
        """Return the layers of a seed's actor, or of all, as views."""
        nets = self.networks
        return _of_seed(layers(nets.actor, self.num_seeds, nets.actor_sizes), seed, 1)

    def critic(self, seed: int) -> Layers:
        """Return the layers of a seed's critics, as views."""
        nets = self.networks
        return _of_seed(layers(nets.critic, 2 * self.num_seeds, nets.critic_sizes), seed, 2)

    def networks_of(self, seed: int) -> Networks:
        """Return a seed's parameters; copies of them where there are several seeds."""
        nets = self.networks
        tensors = {name: self._part(name, getattr(nets, name), seed) for name in _GROUPS}
        return nets._replace(**tensors)

    def tensors(self, seed: int) -> dict[str, Tensor]:
        """Return every tensor of a seed that learning changes, by name; copies as networks_of."""
        return {name: self._part(group, x, seed) for name, (group, x) in self._all().items()}

    def load(self, seed: int, tensors: dict[str, Tensor]) -> None:
        """Set a seed's tensors to those of the same names.

        Args:
            seed: its number.
            tensors: as tensors() returns them.
        """
        self._loaded[seed] = tensors["actor_adam.steps.0"].item()
        for name, (group, whole) in self._all().items():
            if whole.dim() == 0 or group == "log_temperature":
                (whole if whole.dim() == 0 else whole[seed : seed + 1]).copy_(tensors[name])
                continue
            num, sizes = self._form(group)
            mine = _of_seed(layers(whole, num * self.num_seeds, sizes), seed, num)
            given = layers(tensors[name].to(whole), num, sizes)
            for own, new in zip(mine, given, strict=True):
                for x, y in zip(own, new, strict=True):
                    x.copy_(y)

    def _all(self) -> dict[str, tuple[str, Tensor]]:
        """Return every tensor by name, with the group of parameters whose form it has."""
        by_name = {name: (name, getattr(self.networks, name)) for name in _GROUPS}
        for name, adam, groups in (
            ("critic", self._critic_adam, ("critic", "log_temperature")),
            ("actor", self._actor_adam, ("actor",)),
        ):
            for kind, parts in adam.state().items():
                for i, (group, part) in enumerate(zip(groups, parts, strict=True)):
                    by_name[f"{name}_adam.{kind}.{i}"] = group, part
        return by_name

    def _part(self, group: str, whole: Tensor, seed: int) -> Tensor:
        """Return a seed's part of a tensor that has the form of a group of parameters."""
        if whole.dim() == 0:  # a count of steps, the same of all seeds
            return whole
        if group == "log_temperature":
            return whole[seed : seed + 1]
        num, sizes = self._form(group)
        return group_of(whole, num, sizes, index=seed, of=self.num_seeds)

    def _form(self, group: str) -> tuple[int, tuple[int, ...]]:
        """Return how many networks a seed has in a group, and the sizes of their layers."""
        nets = self.networks
        return (1, nets.actor_sizes) if group == "actor" else (2, nets.critic_sizes)


_GROUPS = ("actor", "critic", "target", "log_temperature")


def merged(parts: Sequence[Updates]) -> Updates:
    """Return the updates of several learners as those of one batch, with their moments.

    Args:
        parts: of one seed each.

    Raises:
        BadInput: if they differ in more than their numbers.
    """
    first = parts[0]
    for each in parts[1:]:
        same = each.networks[:2] == first.networks[:2] and each.settings == first.settings
        if not same or each.units != first.units:
            raise BadInput("learners: seeds that learn as one batch should have the same settings")
    nets, seeds = first.networks, range(len(parts))
    networks = Networks(
        nets.actor_sizes,
        nets.critic_sizes,
        merge([x.networks.actor for x in parts], 1, nets.actor_sizes),
        merge([x.networks.critic for x in parts], 2, nets.critic_sizes),
        merge([x.networks.target for x in parts], 2, nets.critic_sizes),
        torch.cat([x.networks.log_temperature for x in parts]),
    )
    generators = [each.generators[0] for each in parts]
    whole = Updates(networks, first.settings, first.units, generators)
    for seed, part in zip(seeds, parts, strict=True):
        whole.load(seed, part.tensors(0))
    return whole


def _filled(
    real: ReplayBuffer, imagined: ReplayBuffer | None
) -> tuple[ReplayBuffer, ReplayBuffer | None]:
    """Return the buffers that hold something, as those that mix draws from."""
    if imagined is None or not len(imagined):
        return real, None
    return (real, imagined) if len(real) else (imagined, None)


def _of_seed(net: Layers, seed: int | None, num: int) -> Layers:
    """Return the layers of a seed's num networks; of all for None."""
    if seed is None:
        return net
    own = slice(seed * num, (seed + 1) * num)
    return [(weight[own], bias[own]) for weight, bias in net]
