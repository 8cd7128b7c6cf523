"""One network shared by all edges of a kind, and its unrolling into one sparse network.

The graph variant of Liu et al. 2023: objects that push each other obey one law.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mbrl.dynamics.sparse_relu.gated_network import GatedNetwork
from mbrl.nn.normalizer import Normalizer
from mbrl.relu import Layer, ReluNetwork
from mbrl.relu.network import Array
from mbrl.types import InteractionEdges


class InteractionNetwork(nn.Module):
    """What edges of one kind add to the change of obs, for M members.

    Args:
        num_members: M.
        edges: of one kind.
        hidden: neurons of each layer at first.
        generator: source of the initial weights.
    """

    reads: Tensor  # (E, in, obs_dim + act_dim)
    writes: Tensor  # (E, targets, out)
    scale: Tensor  # (out,) of the network's outputs, raw units

    def __init__(
        self,
        num_members: int,
        edges: InteractionEdges,
        hidden: tuple[int, ...],
        *,
        generator: torch.Generator,
    ):
        """Draw the network."""
        super().__init__()
        reads, writes = edges
        self.register_buffer("reads", reads.float())
        self.register_buffer("writes", writes.float())
        self.register_buffer("scale", torch.ones(writes.shape[2]))
        self.inputs = Normalizer(reads.shape[1])
        self.net = GatedNetwork(
            num_members, reads.shape[1], writes.shape[2], hidden, generator=generator
        )

    def normalise(self, x: Tensor, target_std: Tensor) -> None:
        """Take the scales from x (B, obs_dim + act_dim) and the targets' (targets,)."""
        self.inputs.fit(self._seen(x[None]).flatten(0, 2))
        self.scale.copy_((self.writes.abs() * target_std[:, None]).amax(1).mean(0))

    def _seen(self, x: Tensor) -> Tensor:
        """Give what each edge sees of x (M, B, obs_dim + act_dim): (M, E, B, in)."""
        return x[:, None] @ self.reads.mT

    def rows(self, x: Tensor) -> Tensor:
        """Give the network's inputs for x (M, B, obs_dim + act_dim): (M, E * B, in)."""
        return self.inputs(self._seen(x)).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Give the change, raw units, for x (M, B, obs_dim + act_dim): (M, B, targets)."""
        out = self.net(self.rows(x)) * self.scale
        out = out.unflatten(1, (self.reads.shape[0], -1))  # (M, E, B, out)
        return (out @ self.writes.mT).sum(1)

    def features(self, x: Tensor) -> Tensor:
        """Give what the skip's parameters add to targets: (B, targets, (in + 1) * out)."""
        seen = self.inputs(self._seen(x[None]))[0]
        seen = torch.cat([seen, torch.ones_like(seen[..., :1])], -1)  # (E, B, in + 1)
        return torch.einsum("ebi,eto->btio", seen, self.writes * self.scale).flatten(2)

    def set_skip(self, parameters: Tensor) -> None:
        """Set every member's skip and bias from ((in + 1) * out,)."""
        table = parameters.view(self.reads.shape[1] + 1, -1)
        with torch.no_grad():
            self.net.weight[:, : self.net.num_inputs] = table[:-1]
            self.net.bias[:] = table[-1:]


def unroll(
    kinds: Sequence[InteractionNetwork], member: int, obs_dim: int, num_anchors: int
) -> ReluNetwork:
    """Write one member as one network with block-sparse layers, float64, raw units.

    Args:
        kinds: the shared networks.
        member: which of the members.
        obs_dim: length of an observation.
        num_anchors: inputs between obs and action that stay as they are.
    """
    blocks = [_Block(kind, member, edge) for kind in kinds for edge in range(len(kind.reads))]
    total = kinds[0].reads.shape[2]
    targets = kinds[0].writes.shape[1]
    where = np.r_[0:obs_dim, obs_dim + num_anchors : total + num_anchors]  # of obs and action
    inputs = total + num_anchors
    width, layers = inputs, []
    for depth in range(max(len(block.layers) for block in blocks)):
        here = [block for block in blocks if depth < len(block.layers)]
        rows, at = [], width
        for block in here:
            layer = block.layers[depth]
            row = np.zeros((len(layer.bias), width))
            row[:, where] = layer.weight[:, :total]
            row[:, block.columns] = layer.weight[:, total:]
            rows.append(row)
        for block in here:
            count = len(block.layers[depth].bias)
            block.columns += list(range(at, at + count))
            at += count
        width = at
        bias = np.concatenate([block.layers[depth].bias for block in here])
        kind = np.concatenate([block.layers[depth].kind for block in here])
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


class _Block:
    """One edge's network over [obs, action, own neurons], raw units.

    Attributes:
        columns: where its own neurons stand in the whole.
    """

    def __init__(self, kind: InteractionNetwork, member: int, edge: int):
        """Fold the scaling of its inputs and outputs."""
        layers, weight, bias = kind.net.export(member)
        mean, std, scale, reads, writes = (
            x.detach().cpu().double().numpy()
            for x in (
                kind.inputs.mean, kind.inputs.std, kind.scale, kind.reads[edge], kind.writes[edge]
            )
        )  # fmt: skip
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
