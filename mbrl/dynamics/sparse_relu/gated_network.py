"""Networks whose neurons are chosen: each becomes a ReLU, an identity or nothing.

Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics): the choice is relaxed, learned
with the weights, made hard a few neurons at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mbrl.relu import RELU, ZERO, Layer
from mbrl.relu.network import Array

RELAXED = 3  # a neuron whose choice is still open
KINDS = 3  # relu, identity, zero: the order of the logits


class GatedReLU(nn.Module):
    """One layer of gated neurons for M members.

    Args:
        num_members: M.
        seen: inputs and earlier neurons.
        width: neurons n.
        generator: source of the initial weights.
    """

    kind: Tensor  # (M, n) int8: ZERO, IDENTITY, RELU or RELAXED

    def __init__(self, num_members: int, seen: int, width: int, *, generator: torch.Generator):
        """Draw weights; every neuron is a ReLU."""
        super().__init__()
        bound = 1 / math.sqrt(seen)
        shape, device = (num_members, seen, width), generator.device
        drawn = torch.empty(shape, device=device).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(drawn * math.sqrt(3))
        shift = torch.empty(num_members, 1, width, device=device)
        self.bias = nn.Parameter(shift.uniform_(-1, 1, generator=generator))
        self.logits = nn.Parameter(torch.zeros(num_members, 1, width, KINDS, device=device))
        kind = torch.full((num_members, width), RELU, dtype=torch.int8, device=device)
        self.register_buffer("kind", kind)

    def relax(self) -> None:
        """Open the choice of every ReLU, a ReLU being the likeliest."""
        with torch.no_grad():
            self.logits.zero_()
            self.logits[..., 0] = 2.0
        self.kind[self.kind == RELU] = RELAXED

    def gates(self) -> Tensor:
        """Give each neuron's weights of (relu, identity, zero): (M, 1, n, 3)."""
        return self.logits.softmax(-1)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate inputs and earlier neurons (M, B, seen).

        Returns:
            Neurons and preactivations (M, B, n).
        """
        before = torch.baddbmm(self.bias, seen, self.weight)
        kind = self.kind[:, None]
        if not (kind == RELAXED).any():
            return before.relu() * (kind == RELU), before
        gate = self.gates()
        soft = gate[..., 0] * before.relu() + gate[..., 1] * before
        return torch.where(kind == RELAXED, soft, before.relu() * (kind == RELU)), before


class GatedNetwork(nn.Module):
    """An affine skip and layers of gated neurons, each seeing the inputs and all before it.

    Args:
        num_members: M networks of one shape, evaluated as one.
        inputs: their number.
        outputs: their number.
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
        """Draw weights."""
        super().__init__()
        self.num_inputs = inputs
        seen, layers = inputs, []
        for width in hidden:
            layers.append(GatedReLU(num_members, seen, width, generator=generator))
            seen += width
        self.layers = nn.ModuleList(layers)
        device = generator.device
        out = torch.zeros(num_members, seen, outputs, device=device)
        out[:, inputs:].normal_(0, 0.1 / math.sqrt(max(1, seen - inputs)), generator=generator)
        self.weight = nn.Parameter(out)
        self.bias = nn.Parameter(torch.zeros(num_members, 1, outputs, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate x (M, B, inputs): (M, B, outputs)."""
        for layer in self._gated():
            x = torch.cat([x, layer(x)[0]], -1)
        return torch.baddbmm(self.bias, x, self.weight)

    def relax(self) -> None:
        """Open the choices of all ReLUs."""
        for layer in self._gated():
            layer.relax()

    def excess(self, budget: int) -> Tensor:
        """Give each member's expected number of ReLUs beyond the budget, at least 0: (M,)."""
        open_ = [(layer.gates()[:, 0, :, 0] * (layer.kind == RELAXED)) for layer in self._gated()]
        return (torch.cat(open_, 1).sum(1) - budget).clamp(min=0)

    def instability(self, x: Tensor, radius: float) -> Tensor:
        """Say how often ReLUs change side within a radius of inputs x (M, B, inputs): (M,).

        Xiao et al. 2019 (Training for Faster Adversarial Robustness Verification via Inducing ReLU
        Stability): -tanh(1 + low * high) of each preactivation, on average.
        """
        worst, seen = torch.full_like(x, radius), x
        doubts = []
        for layer in self._gated():
            after, before = layer(seen)
            spread = worst @ layer.weight.abs()
            alive = (layer.kind == RELU) | (layer.kind == RELAXED)
            doubt = -torch.tanh(1 + (before - spread) * (before + spread))
            doubts.append((doubt * alive[:, None]).sum(-1) / alive.sum(-1)[:, None].clamp(min=1))
            seen, worst = torch.cat([seen, after], -1), torch.cat([worst, spread], -1)
        return torch.stack(doubts).mean((0, 2))

    @torch.no_grad()
    def prune(self, x: Tensor, budget: int) -> None:
        """Keep the budget's most useful neurons as ReLUs; the linear fit of the rest is absorbed.

        A neuron is worth what of it no affine map of the inputs and the layers before explains,
        times how steeply the outputs follow it there. Of an open one that stays, the identity's
        share is absorbed as well.

        Args:
            x: inputs (M, B, inputs) to judge by.
            budget: ReLUs kept in each member.
        """
        whole, hard = (y.double() for y in self._parts(x))
        kinds = torch.cat([layer.kind for layer in self._gated()], 1)
        left = whole - self._explain(x, whole, hard * (kinds != ZERO)[:, None])[0]
        worth = (left.square() * self._steepness(x).double()).mean(1)  # (M, N)
        worth = torch.where(kinds == ZERO, -1.0, worth)
        kept = torch.zeros_like(kinds, dtype=torch.bool)
        kept.scatter_(1, worth.topk(min(budget, worth.shape[1]), 1).indices, True)
        kept &= kinds != ZERO
        gates = [layer.gates()[:, 0, :, 0] for layer in self._gated()]
        scale = kept * torch.where(kinds == RELAXED, torch.cat(gates, 1), 1.0)
        rest = whole - hard * scale[:, None]
        fit = self._explain(x, rest, hard * kept[:, None])[1]
        self._absorb(fit.to(x.dtype), scale)
        for layer, mine in zip(self._gated(), self._split(kept), strict=True):
            layer.kind[:] = torch.where(mine, RELU, ZERO).to(torch.int8)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give all neurons (M, B, N) as they are, and as ReLUs."""
        seen, hard = x, []
        for layer in self._gated():
            after, before = layer(seen)
            hard.append(before.relu())
            seen = torch.cat([seen, after], -1)
        return seen[..., self.num_inputs :], torch.cat(hard, -1)

    def _explain(self, x: Tensor, goal: Tensor, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """Fit goals of all neurons by inputs, 1, and the neurons of the layers before theirs.

        Args:
            x: inputs (M, B, inputs).
            goal: (M, B, N).
            neurons: (M, B, N), zero where one is not to be used.

        Returns:
            Fitted goals (M, B, N), and coefficients (M, inputs + 1 + N, N).
        """
        basis = torch.cat([x.double(), torch.ones_like(x[..., :1], dtype=torch.float64)], -1)
        coefficients, start = [], 0
        total = goal.shape[2]
        for layer in self._gated():
            stop = start + layer.kind.shape[1]
            gram = basis.mT @ basis / x.shape[1]
            gram = gram + 1e-9 * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
            right = basis.mT @ goal[..., start:stop] / x.shape[1]
            found = torch.linalg.solve(gram, right)
            padding = (0, 0, 0, self.num_inputs + 1 + total - found.shape[1])
            coefficients.append(torch.nn.functional.pad(found, padding))
            basis = torch.cat([basis, neurons[..., start:stop]], -1)
            start = stop
        fit = torch.cat(coefficients, 2)
        return basis @ fit, fit

    def _absorb(self, fit: Tensor, scale: Tensor) -> None:
        """Let what reads neurons read their fit (M, inputs + 1 + N, N) too, and scale of them.

        Of a neuron that goes, the scale (M, N) is 0.
        """
        count = self.num_inputs
        readers = [(layer.weight, layer.bias) for layer in self._gated()]
        for weight, bias in (*readers, (self.weight, self.bias)):
            known = weight.shape[1] - count  # earlier neurons that it sees
            taken = fit[:, :, :known] @ weight[:, count:]
            weight[:, :count] += taken[:, :count]
            bias += taken[:, count : count + 1]
            weight[:, count:] *= scale[:, :known, None]
            weight[:, count:] += taken[:, count + 1 : count + 1 + known]

    def _steepness(self, x: Tensor) -> Tensor:
        """Give the outputs' squared derivatives by each neuron at x, summed: (M, B, N)."""
        with torch.enable_grad():
            seen, neurons = x, []
            for layer in self._gated():
                neurons.append(layer(seen)[0])
                seen = torch.cat([seen, neurons[-1]], -1)
            out = torch.baddbmm(self.bias, seen, self.weight)
            by_output = [
                torch.cat(torch.autograd.grad(y.sum(), neurons, retain_graph=True), -1)
                for y in out.unbind(-1)
            ]
        return torch.stack(by_output).square().sum(0)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Part what holds all neurons (M, N) by layers."""
        return x.split([layer.kind.shape[1] for layer in self._gated()], 1)

    def _gated(self) -> list[GatedReLU]:
        """List the layers."""
        return [layer for layer in self.layers if isinstance(layer, GatedReLU)]

    def export(self, member: int) -> tuple[list[Layer], Array, Array]:
        """Give one member in float64, kept neurons alone: layers, read-out weight and bias."""
        rows, layers = list(range(self.num_inputs)), []
        at = self.num_inputs
        for layer in self._gated():
            kind = layer.kind[member].cpu().numpy()
            kept = [i for i in range(len(kind)) if kind[i] != ZERO]
            weight = _numpy(layer.weight[member]).T
            bias = _numpy(layer.bias[member, 0])
            if kept:
                layers.append(Layer(weight[kept][:, rows], bias[kept], kind[kept]))
            rows += [at + i for i in kept]
            at += len(kind)
        return layers, _numpy(self.weight[member]).T[:, rows], _numpy(self.bias[member, 0])


def _numpy(x: Tensor) -> Array:
    """Give a parameter as float64."""
    return x.detach().cpu().double().numpy()
