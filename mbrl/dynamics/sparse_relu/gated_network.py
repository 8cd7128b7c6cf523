"""Networks that are pruned: a learned gate makes each neuron a ReLU, the identity or zero.

Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics): the gates are relaxed, trained
with the weights, and fixed a few neurons at a time.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from mbrl.relu import RELU, ZERO, Layer
from mbrl.relu.network import Array

RELAXED = 3  # kind of a neuron whose gate is open
NUM_KINDS = 3  # ReLU, identity, zero: the order of the logits


@final
class GatedLayer(nn.Module):
    """Layer of gated neurons, for M members.

    Args:
        num_members: M.
        num_inputs: inputs of the network and earlier neurons.
        width: neurons n.
        generator: source of the initial weights.
    """

    kind: Tensor  # (M, n) int8: ZERO, IDENTITY, RELU or RELAXED

    def __init__(
        self, num_members: int, num_inputs: int, width: int, *, generator: torch.Generator
    ):
        """Draw the initial weights; every neuron is a ReLU."""
        super().__init__()
        bound = 1 / math.sqrt(num_inputs)
        shape, device = (num_members, num_inputs, width), generator.device
        weight = torch.empty(shape, device=device).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight * math.sqrt(3))
        bias = torch.empty(num_members, 1, width, device=device)
        self.bias = nn.Parameter(bias.uniform_(-1, 1, generator=generator))
        self.logits = nn.Parameter(torch.zeros(num_members, 1, width, NUM_KINDS, device=device))
        kind = torch.full((num_members, width), RELU, dtype=torch.int8, device=device)
        self.register_buffer("kind", kind)

    def relax(self) -> None:
        """Open the gate of every ReLU, with the most weight on the ReLU."""
        with torch.no_grad():
            self.logits.zero_()
            self.logits[..., 0] = 2.0
        self.kind[self.kind == RELU] = RELAXED

    def gates(self) -> Tensor:
        """Return each neuron's weights of (ReLU, identity, zero): (M, 1, n, 3)."""
        return self.logits.softmax(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate x (M, B, num_inputs).

        Returns:
            Neurons and preactivations (M, B, n).
        """
        preactivation = torch.baddbmm(self.bias, x, self.weight)
        kind = self.kind[:, None]
        relu = preactivation.relu() * (kind == RELU)
        if not (kind == RELAXED).any():
            return relu, preactivation
        gate = self.gates()
        soft = gate[..., 0] * preactivation.relu() + gate[..., 1] * preactivation
        return torch.where(kind == RELAXED, soft, relu), preactivation


@final
class GatedNetwork(nn.Module):
    """Affine skip connection and layers of gated neurons, densely connected.

    A layer's inputs are those of the network and the neurons of all layers before it.

    Args:
        num_members: M networks of one shape, evaluated as one.
        inputs: number of inputs.
        outputs: number of outputs.
        hidden: neurons of each layer.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        num_members: int,
        inputs: int,
        outputs: int,
        hidden: tuple[int, ...],
        *,
        generator: torch.Generator,
    ):
        """Draw the initial weights; those of the skip connection are 0."""
        super().__init__()
        self.num_inputs = inputs
        size, layers = inputs, []
        for width in hidden:
            layers.append(GatedLayer(num_members, size, width, generator=generator))
            size += width
        self.layers = nn.ModuleList(layers)
        device = generator.device
        weight = torch.zeros(num_members, size, outputs, device=device)
        weight[:, inputs:].normal_(0, 0.1 / math.sqrt(max(1, size - inputs)), generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(num_members, 1, outputs, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate x (M, B, inputs): (M, B, outputs)."""
        for layer in self._gated():
            x = torch.cat([x, layer(x)[0]], -1)
        return torch.baddbmm(self.bias, x, self.weight)

    def relax(self) -> None:
        """Open the gates of all ReLUs."""
        for layer in self._gated():
            layer.relax()

    def excess(self, budget: int) -> Tensor:
        """Return each member's expected number of ReLUs beyond the budget, at least 0: (M,)."""
        weights = [layer.gates()[:, 0, :, 0] * (layer.kind == RELAXED) for layer in self._gated()]
        return (torch.cat(weights, 1).sum(1) - budget).clamp(min=0)

    def instability(self, x: Tensor, radius: float) -> Tensor:
        """Return how often ReLUs change sign within a radius of inputs x (M, B, inputs): (M,).

        Xiao et al. 2019 (Training for Faster Adversarial Robustness Verification via Inducing ReLU
        Stability): the mean of -tanh(1 + low * high) over the bounds of the preactivations.
        """
        radii = torch.full_like(x, radius)
        losses = []
        for layer in self._gated():
            neurons, preactivation = layer(x)
            spread = radii @ layer.weight.abs()
            alive = (layer.kind == RELU) | (layer.kind == RELAXED)
            loss = -torch.tanh(1 + (preactivation - spread) * (preactivation + spread))
            losses.append((loss * alive[:, None]).sum(-1) / alive.sum(-1)[:, None].clamp(min=1))
            x, radii = torch.cat([x, neurons], -1), torch.cat([radii, spread], -1)
        return torch.stack(losses).mean((0, 2))

    @torch.no_grad()
    def prune(self, x: Tensor, budget: int) -> None:
        """Set all but the budget's most important neurons to zero, and fix the others as ReLUs.

        A neuron's importance is the part of it that no affine map of the inputs and of the layers
        before explains, squared, times the outputs' squared derivatives by it. What is removed is
        replaced by its linear fit; of an open neuron that stays, so is the identity's share.

        Args:
            x: inputs (M, B, inputs) on which importance is measured.
            budget: ReLUs that each member keeps.
        """
        neurons, relus = (y.double() for y in self._neurons(x))
        kinds = torch.cat([layer.kind for layer in self._gated()], 1)
        residual = neurons - self._fit_linear(x, neurons, relus * (kinds != ZERO)[:, None])[0]
        importance = (residual.square() * self._squared_derivatives(x).double()).mean(1)  # (M, N)
        importance = torch.where(kinds == ZERO, -1.0, importance)
        stays = torch.zeros_like(kinds, dtype=torch.bool)
        stays.scatter_(1, importance.topk(min(budget, importance.shape[1]), 1).indices, True)
        stays &= kinds != ZERO
        gates = [layer.gates()[:, 0, :, 0] for layer in self._gated()]
        scale = stays * torch.where(kinds == RELAXED, torch.cat(gates, 1), 1.0)
        removed = neurons - relus * scale[:, None]
        fit = self._fit_linear(x, removed, relus * stays[:, None])[1]
        self._absorb(fit.to(x.dtype), scale)
        widths = [layer.kind.shape[1] for layer in self._gated()]
        for layer, mask in zip(self._gated(), stays.split(widths, 1), strict=True):
            layer.kind[:] = torch.where(mask, RELU, ZERO).to(torch.int8)

    def _neurons(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return all neurons (M, B, N) at x (M, B, inputs), as they are and as ReLUs."""
        relus = []
        for layer in self._gated():
            neurons, preactivation = layer(x)
            relus.append(preactivation.relu())
            x = torch.cat([x, neurons], -1)
        return x[..., self.num_inputs :], torch.cat(relus, -1)

    def _fit_linear(self, x: Tensor, targets: Tensor, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """Fit a target of each neuron by the inputs, 1, and the neurons of the layers before it.

        Args:
            x: inputs (M, B, inputs).
            targets: (M, B, N).
            neurons: (M, B, N), zero where one is not to be used.

        Returns:
            Fitted targets (M, B, N), and coefficients (M, inputs + 1 + N, N).
        """
        basis = torch.cat([x.double(), torch.ones_like(x[..., :1], dtype=torch.float64)], -1)
        coefficients, start = [], 0
        total = targets.shape[2]
        for layer in self._gated():
            stop = start + layer.kind.shape[1]
            gram = basis.mT @ basis / x.shape[1]
            gram = gram + 1e-9 * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
            right = basis.mT @ targets[..., start:stop] / x.shape[1]
            solution = torch.linalg.solve(gram, right)
            padding = (0, 0, 0, self.num_inputs + 1 + total - solution.shape[1])
            coefficients.append(torch.nn.functional.pad(solution, padding))
            basis = torch.cat([basis, neurons[..., start:stop]], -1)
            start = stop
        fit = torch.cat(coefficients, 2)
        return basis @ fit, fit

    def _absorb(self, fit: Tensor, scale: Tensor) -> None:
        """Replace each neuron by scale times itself plus its linear fit, in all that reads it.

        Args:
            fit: coefficients (M, inputs + 1 + N, N).
            scale: (M, N), 0 for a neuron that is removed.
        """
        count = self.num_inputs
        readers = [(layer.weight, layer.bias) for layer in self._gated()]
        for weight, bias in (*readers, (self.weight, self.bias)):
            earlier = weight.shape[1] - count  # neurons among its inputs
            added = fit[:, :, :earlier] @ weight[:, count:]
            weight[:, :count] += added[:, :count]
            bias += added[:, count : count + 1]
            weight[:, count:] *= scale[:, :earlier, None]
            weight[:, count:] += added[:, count + 1 : count + 1 + earlier]

    def _squared_derivatives(self, x: Tensor) -> Tensor:
        """Compute the sum of the outputs' squared derivatives by each neuron (M, B, N).

        Args:
            x: inputs (M, B, inputs).
        """
        with torch.enable_grad():
            neurons = []
            for layer in self._gated():
                neurons.append(layer(x)[0])
                x = torch.cat([x, neurons[-1]], -1)
            out = torch.baddbmm(self.bias, x, self.weight)
            by_output = [
                torch.cat(torch.autograd.grad(y.sum(), neurons, retain_graph=True), -1)
                for y in out.unbind(-1)
            ]
        return torch.stack(by_output).square().sum(0)

    def _gated(self) -> list[GatedLayer]:
        """Return the layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, GatedLayer)]

    def export(self, member: int) -> tuple[list[Layer], Array, Array]:
        """Return one member in float64, without the neurons that are zero.

        Returns:
            Its layers, and the weight (outputs, inputs + neurons) and bias (outputs,) of its
            outputs.
        """
        rows, layers = list(range(self.num_inputs)), []
        start = self.num_inputs
        for layer in self._gated():
            kind = layer.kind[member].cpu().numpy()
            alive = [i for i in range(len(kind)) if kind[i] != ZERO]
            weight = _numpy(layer.weight[member]).T
            bias = _numpy(layer.bias[member, 0])
            if alive:
                layers.append(Layer(weight[alive][:, rows], bias[alive], kind[alive]))
            rows += [start + i for i in alive]
            start += len(kind)
        return layers, _numpy(self.weight[member]).T[:, rows], _numpy(self.bias[member, 0])


def _numpy(x: Tensor) -> Array:
    """Return a parameter of any shape in float64."""
    return x.detach().cpu().double().numpy()
