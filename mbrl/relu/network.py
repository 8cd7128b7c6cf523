"""ReLU networks for optimization: float64, raw units, each neuron a ReLU, an identity or nothing.

Every layer sees the inputs and all neurons before it, so that the family is closed under removing
neurons: an identity is folded into whatever reads it, the affine skip is the first columns of the
read-out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Kinds = NDArray[np.int8]

ZERO, IDENTITY, RELU = 0, 1, 2  # what a neuron does with its preactivation


class Layer(NamedTuple):
    """Neurons that see the inputs and all earlier neurons."""

    weight: Array  # (n, num_inputs + earlier neurons)
    bias: Array  # (n,)
    kind: Kinds  # (n,)


class ReluNetwork(NamedTuple):
    """Map from [obs, action] to next_obs, then a reward if it is learned.

    outputs = weight @ [obs, action, neurons] + bias.
    """

    layers: tuple[Layer, ...]
    weight: Array  # (num_outputs, num_inputs + neurons)
    bias: Array  # (num_outputs,)
    obs_dim: int

    @property
    def num_outputs(self) -> int:
        """Return the length of next_obs and what comes after it."""
        return self.weight.shape[0]

    @property
    def num_neurons(self) -> int:
        """Return the number of neurons of all layers."""
        return sum(layer.bias.shape[0] for layer in self.layers)

    @property
    def num_inputs(self) -> int:
        """Return the length of obs and action together."""
        return self.weight.shape[1] - self.num_neurons

    @property
    def act_dim(self) -> int:
        """Return the length of an action."""
        return self.num_inputs - self.obs_dim

    @property
    def kinds(self) -> Kinds:
        """Return the kind of every neuron (num_neurons,)."""
        return np.concatenate([np.zeros(0, np.int8), *(layer.kind for layer in self.layers)])

    @property
    def skip(self) -> Array:
        """Return the affine skip (num_outputs, num_inputs)."""
        return self.weight[:, : self.num_inputs]

    def forward(self, inputs: Array) -> tuple[Array, Array]:
        """Evaluate inputs (B, num_inputs).

        Returns:
            Outputs (B, num_outputs) and preactivations (B, num_neurons).
        """
        values, before = inputs, [inputs[:, :0]]
        for layer in self.layers:
            pre = values @ layer.weight.T + layer.bias
            post = np.where(layer.kind == RELU, np.maximum(pre, 0), pre)
            values = np.concatenate([values, np.where(layer.kind == ZERO, 0, post)], 1)
            before.append(pre)
        return values @ self.weight.T + self.bias, np.concatenate(before, 1)

    def evaluate(self, inputs: Tensor) -> Tensor:
        """Evaluate inputs (B, num_inputs) in torch: outputs (B, num_outputs)."""
        values = inputs
        for layer in self.layers:
            weight, bias = (torch.from_numpy(x).to(values) for x in (layer.weight, layer.bias))
            pre = torch.addmm(bias, values, weight.T)
            kind = torch.from_numpy(layer.kind)
            post = pre.relu() if (layer.kind == RELU).all() else _gated(pre, kind)
            values = torch.cat([values, post], 1)
        weight, bias = (torch.from_numpy(x).to(values) for x in (self.weight, self.bias))
        return torch.addmm(bias, values, weight.T)

    def simulate(self, obs: Array, actions: Array) -> tuple[Array, Array]:
        """Roll out actions (B, T, act_dim) from obs (B, obs_dim).

        Returns:
            Outputs (B, T, num_outputs) and preactivations (B, T, num_neurons).
        """
        outputs, before = [], []
        for action in actions.swapaxes(0, 1):
            out, pre = self.forward(np.concatenate([obs, action], 1))
            obs = out[:, : self.obs_dim]
            outputs.append(out)
            before.append(pre)
        return np.stack(outputs, 1), np.stack(before, 1)

    def simplify(self, kinds: Kinds | None = None) -> ReluNetwork:
        """Return an equal network of ReLUs: identities folded into their readers, zeros dropped.

        Args:
            kinds: (num_neurons,) to take instead of the layers' own.
        """
        kinds = self.kinds if kinds is None else kinds
        inputs, num_kept = self.num_inputs, int((kinds == RELU).sum())
        # each input and old neuron as a row over [inputs, kept neurons, 1]
        rows = np.zeros((inputs + len(kinds), inputs + num_kept + 1))
        rows[:inputs, :inputs] = np.eye(inputs)
        layers, old, new = [], inputs, inputs
        for layer in self.layers:
            count = layer.bias.shape[0]
            kind = kinds[old - inputs : old - inputs + count]
            pre = layer.weight @ rows[:old]
            pre[:, -1] += layer.bias
            relu = np.flatnonzero(kind == RELU)
            identity = np.flatnonzero(kind == IDENTITY)
            rows[old + identity] = pre[identity]
            rows[old + relu, new + np.arange(len(relu))] = 1
            if len(relu):
                layers.append(Layer(pre[relu, :new], pre[relu, -1], kind[relu]))
            old, new = old + count, new + len(relu)
        out = self.weight @ rows
        return ReluNetwork(tuple(layers), out[:, :-1], self.bias + out[:, -1], self.obs_dim)


def _gated(pre: Tensor, kind: Tensor) -> Tensor:
    """Apply what each neuron (n,) does to preactivations (B, n)."""
    return torch.where(kind == ZERO, 0, torch.where(kind == RELU, pre.relu(), pre))


def average(networks: tuple[ReluNetwork, ...]) -> ReluNetwork:
    """Return the mean of networks over the same inputs as one network: an ensemble's prediction.

    Layer i of the result holds layer i of every network, block by block.

    Args:
        networks: of the same inputs and outputs.
    """
    inputs, members = networks[0].num_inputs, range(len(networks))
    depth = max(len(network.layers) for network in networks)
    columns = [list(range(inputs)) for _ in members]  # where a member's own columns stand
    layers, width = [], inputs
    for index in range(depth):
        blocks = [
            (m, networks[m].layers[index]) for m in members if index < len(networks[m].layers)
        ]
        rows = []
        for m, layer in blocks:
            row = np.zeros((len(layer.bias), width))
            row[:, columns[m]] = layer.weight
            rows.append(row)
        for m, layer in blocks:
            columns[m] = columns[m] + list(range(width, width + len(layer.bias)))
            width += len(layer.bias)
        bias = np.concatenate([layer.bias for _, layer in blocks])
        layers.append(
            Layer(np.concatenate(rows), bias, np.concatenate([x.kind for _, x in blocks]))
        )
    weight = np.zeros((networks[0].num_outputs, width))
    for m, network in enumerate(networks):
        weight[:, columns[m]] += network.weight / len(networks)
    bias = sum(network.bias for network in networks) / len(networks)
    return ReluNetwork(tuple(layers), weight, np.asarray(bias), networks[0].obs_dim)


def append(network: ReluNetwork, head: ReluNetwork) -> ReluNetwork:
    """Append a head that reads [outputs, action]; its outputs come after the network's.

    Args:
        network: of the dynamics.
        head: over num_outputs + act_dim inputs.
    """
    inputs, num_kept = network.num_inputs, network.num_neurons
    # the head's inputs as rows over [inputs, neurons, 1]
    reads = np.zeros((head.num_inputs, inputs + num_kept + 1))
    reads[: network.num_outputs, :-1] = network.weight
    reads[: network.num_outputs, -1] = network.bias
    reads[network.num_outputs :, network.obs_dim : inputs] = np.eye(network.act_dim)

    def through(weight: Array, bias: Array) -> tuple[Array, Array]:
        own = weight[:, : head.num_inputs] @ reads
        return np.concatenate([own[:, :-1], weight[:, head.num_inputs :]], 1), bias + own[:, -1]

    layers = [Layer(*through(x.weight, x.bias), x.kind) for x in head.layers]
    weight, bias = through(head.weight, head.bias)
    plain = np.zeros((network.num_outputs, weight.shape[1]))
    plain[:, : inputs + num_kept] = network.weight
    return ReluNetwork(
        (*network.layers, *layers),
        np.concatenate([plain, weight]),
        np.concatenate([network.bias, bias]),
        network.obs_dim,
    )


def random_network(
    obs_dim: int, act_dim: int, widths: tuple[int, ...], *, generator: np.random.Generator
) -> ReluNetwork:
    """Draw a stable random network.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        widths: ReLUs of each layer.
        generator: source of the weights.
    """
    inputs = obs_dim + act_dim
    layers, values = [], inputs
    for width in widths:
        weight = generator.normal(size=(width, values)) / np.sqrt(values)
        bias = 0.5 * generator.normal(size=width)
        layers.append(Layer(weight, bias, np.full(width, RELU, np.int8)))
        values += width
    weight = generator.normal(size=(obs_dim, values)) / np.sqrt(values)
    weight[:, :obs_dim] += 0.5 * np.eye(obs_dim)
    return ReluNetwork(tuple(layers), weight, 0.1 * generator.normal(size=obs_dim), obs_dim)
