"""Interaction networks: one law for all pairs of objects, and its expansion to one ReLU network.

The graph variant of Liu et al. 2023, after Battaglia et al. 2016 (Interaction Networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from mbrl.dynamics.sparse_relu.gated_network import GatedNetwork
from mbrl.nn.normalizer import Normalizer
from mbrl.relu import Layer, ReluNetwork
from mbrl.relu.network import Array
from mbrl.types import InteractionEdges


@final
class InteractionNetwork(nn.Module):
    """Network shared by all interaction edges of one kind, for M members.

    It predicts what these edges add to the change of obs.

    Args:
        num_members: M.
        edges: of one kind.
        hidden: neurons of each layer before pruning.
        generator: source of the initial weights.
    """

    reads: Tensor  # (E, in, obs_dim + act_dim) inputs of each edge
    writes: Tensor  # (E, targets, out) where each edge's outputs are added
    scale: Tensor  # (out,) of the network's outputs, raw units

    def __init__(
        self,
        num_members: int,
        edges: InteractionEdges,
        hidden: tuple[int, ...],
        *,
        generator: torch.Generator,
    ):
        """Draw the initial weights."""
        super().__init__()
        reads, writes = edges
        self.register_buffer("reads", reads.float())
        self.register_buffer("writes", writes.float())
        self.register_buffer("scale", torch.ones(writes.shape[2]))
        self.inputs = Normalizer(reads.shape[1])
        self.net = GatedNetwork(
            num_members, reads.shape[1], writes.shape[2], hidden, generator=generator
        )

    def fit_scales(self, x: Tensor, target_std: Tensor) -> None:
        """Fit the scales of inputs and outputs.

        Args:
            x: (B, obs_dim + act_dim).
            target_std: (targets,) standard deviations.
        """
        self.inputs.fit(self._read(x[None]).flatten(0, 2))
        self.scale.copy_((self.writes.abs() * target_std[:, None]).amax(1).mean(0))

    def _read(self, x: Tensor) -> Tensor:
        """Return the inputs (M, E, B, in) of each edge for x (M, B, obs_dim + act_dim)."""
        return x[:, None] @ self.reads.mT

    def rows(self, x: Tensor) -> Tensor:
        """Return the network's inputs (M, E * B, in) for x (M, B, obs_dim + act_dim)."""
        return self.inputs(self._read(x)).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the change (M, B, targets), raw units, for x (M, B, obs_dim + act_dim)."""
        out = self.net(self.rows(x)) * self.scale
        out = out.unflatten(1, (self.reads.shape[0], -1))  # (M, E, B, out)
        return (out @ self.writes.mT).sum(1)

    def skip_features(self, x: Tensor) -> Tensor:
        """Return the targets' derivatives by the parameters of the skip connection.

        Args:
            x: (B, obs_dim + act_dim).

        Returns:
            (B, targets, (in + 1) * out).
        """
        inputs = self.inputs(self._read(x[None]))[0]
        inputs = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)  # (E, B, in + 1)
        return torch.einsum("ebi,eto->btio", inputs, self.writes * self.scale).flatten(2)

    def set_skip(self, parameters: Tensor) -> None:
        """Set the skip connection of every member from its parameters ((in + 1) * out,)."""
        table = parameters.view(self.reads.shape[1] + 1, -1)
        with torch.no_grad():
            self.net.weight[:, : self.net.num_inputs] = table[:-1]
            self.net.bias[:] = table[-1:]


@final
class InteractionNetworks(nn.ModuleList):
    """Sum of the interaction networks of all kinds of edges."""

    def kinds(self) -> list[InteractionNetwork]:
        """Return the networks, typed."""
        return [network for network in self if isinstance(network, InteractionNetwork)]

    def forward(self, x: Tensor) -> Tensor:
        """Predict the change (M, B, targets), raw units, for x (M, B, obs_dim + act_dim)."""
        parts = [network(x) for network in self.kinds()]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    @torch.no_grad()
    def fit_skips(self, x: Tensor, change: Tensor, unit: Tensor) -> None:
        """Fit the skip connections by least squares, a small ridge on standardized targets.

        Args:
            x: (B, obs_dim + act_dim).
            change: (B, targets).
            unit: (targets,) of the errors; infinity leaves a target out.
        """
        parts = [network.skip_features(x) for network in self.kinds()]
        table = (torch.cat(parts, 2) / unit[:, None]).flatten(0, 1).double()
        targets = (change / unit).flatten().double()
        gram = table.T @ table + 1e-6 * len(table) * torch.eye(table.shape[1]).to(table)
        solution = torch.linalg.solve(gram, table.T @ targets).to(x.dtype)
        pieces = solution.split([part.shape[2] for part in parts])
        for network, piece in zip(self.kinds(), pieces, strict=True):
            network.set_skip(piece)

    def relax(self) -> None:
        """Open the gates of all ReLUs."""
        for network in self.kinds():
            network.net.relax()

    def prune(self, x: Tensor, budget: int) -> None:
        """Prune each network to a budget of ReLUs by its neurons at x (M, B, obs_dim + act_dim)."""
        for network in self.kinds():
            network.net.prune(network.rows(x), budget)

    def excess(self, budget: int) -> Tensor:
        """Return the expected number of ReLUs beyond each network's budget, over all members."""
        return torch.stack([network.net.excess(budget).sum() for network in self.kinds()]).sum()

    def instability(self, x: Tensor, radius: float) -> Tensor:
        """Return how often ReLUs change sign near x (M, B, obs_dim + act_dim), over all members.

        Args:
            x: (M, B, obs_dim + act_dim).
            radius: in standard deviations of the networks' inputs.
        """
        parts = [k.net.instability(k.rows(x), radius).sum() for k in self.kinds()]
        return torch.stack(parts).sum()


def to_relu_network(
    networks: Sequence[InteractionNetwork], member: int, obs_dim: int, num_anchors: int
) -> ReluNetwork:
    """Return one member as one network with block-sparse layers, in float64 and raw units.

    Args:
        networks: one of each kind of edge.
        member: number of the member.
        obs_dim: length of an observation.
        num_anchors: inputs between obs and action that do not change.
    """
    blocks = [
        _Block(network, member, edge) for network in networks for edge in range(len(network.reads))
    ]
    total = networks[0].reads.shape[2]
    targets = networks[0].writes.shape[1]
    where = np.r_[0:obs_dim, obs_dim + num_anchors : total + num_anchors]  # of obs and action
    inputs = total + num_anchors
    width, layers = inputs, []
    for depth in range(max(len(block.layers) for block in blocks)):
        present = [block for block in blocks if depth < len(block.layers)]
        rows, start = [], width
        for block in present:
            layer = block.layers[depth]
            row = np.zeros((len(layer.bias), width))
            row[:, where] = layer.weight[:, :total]
            row[:, block.columns] = layer.weight[:, total:]
            rows.append(row)
        for block in present:
            count = len(block.layers[depth].bias)
            block.columns += list(range(start, start + count))
            start += count
        width = start
        bias = np.concatenate([block.layers[depth].bias for block in present])
        kind = np.concatenate([block.layers[depth].kind for block in present])
        layers.append(Layer(np.concatenate(rows), bias, kind))
    weight, bias = np.zeros((num_anchors + targets, width)), np.zeros(num_anchors + targets)
    out = np.r_[0:obs_dim, obs_dim + num_anchors : targets + num_anchors]
    for block in blocks:
        weight[np.ix_(out, where)] += block.weight[:, :total]
        weight[np.ix_(out, block.columns)] += block.weight[:, total:]
        bias[out] += block.bias
    state = obs_dim + num_anchors
    weight[:state, :state] += np.eye(state)
    return ReluNetwork(tuple(layers), weight, bias, state)


@final
class _Block:
    """Network of one edge over [obs, action, its own neurons], in raw units.

    Attributes:
        columns: numbers of its own neurons in the whole network.
    """

    def __init__(self, network: InteractionNetwork, member: int, edge: int):
        """Build the network, the scaling of inputs and outputs in its weights."""
        layers, weight, bias = network.net.export(member)
        mean, std, scale, reads, writes = (
            x.detach().cpu().double().numpy()
            for x in (
                *(network.inputs.mean, network.inputs.divisor, network.scale),
                *(network.reads[edge], network.writes[edge]),
            )
        )
        count = len(mean)

        def raw(weight: Array, bias: Array) -> tuple[Array, Array]:
            own = weight[:, :count] / std
            return np.concatenate([own @ reads, weight[:, count:]], 1), bias - own @ mean

        self.layers = [Layer(*raw(x.weight, x.bias), x.kind) for x in layers]
        self.weight, self.bias = raw(weight, bias)
        self.weight, self.bias = (
            writes @ (scale[:, None] * self.weight),
            writes @ (scale * self.bias),
        )
        self.columns: list[int] = []
