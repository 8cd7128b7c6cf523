"""Whether an episode ends: classifiers of the state that was reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mbrl.errors import NumericalFault
from mbrl.nn.batched import evaluate, in_blocks
from mbrl.nn.early_stopping import batch_size_for
from mbrl.nn.normalizer import Normalizer
from mbrl.types import Transitions


class TerminationClassifier(nn.Module):
    """Tell from next_obs whether it ends the episode; apart from the dynamics, on purpose.

    As one more output of a dynamics network it is drowned: ends are rare, and the likelihood of
    nearly exact dynamics has gradients many orders of magnitude larger. Ends and other rows count
    alike in the loss. Before an end was ever seen, nothing ends.

    One network a member of the dynamics, each on its own draw of the ends and of the other rows:
    where few ends were seen they disagree, so that a plan's particles keep away from what might end
    the episode, not only from what did.

    Args:
        obs_dim: length of an observation.
        generator: source of the initial weights.
        num_members: number of networks.
        hidden: width of their two hidden layers.
        learning_rate: of Adam, falling to nothing over a fit.
        num_updates: gradient steps of a fit.
        floor: smallest standard deviation of the normaliser, in the data's units.
    """

    inputs: Normalizer
    bias: Tensor  # () added to the logit; -inf before an end was seen

    def __init__(
        self,
        obs_dim: int,
        *,
        generator: torch.Generator,
        num_members: int = 7,
        hidden: int = 64,
        learning_rate: float = 3e-3,
        num_updates: int = 1000,
        floor: float = 1e-3,
    ):
        """Draw the networks."""
        super().__init__()
        sizes = [obs_dim, hidden, hidden, 1]
        self.weights = nn.ParameterList()  # (M, in, out)
        self.biases = nn.ParameterList()  # (M, 1, out)
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            weight = torch.empty(num_members, fan_in, fan_out, device=generator.device)
            nn.init.uniform_(weight, -(bound := 1 / math.sqrt(fan_in)), bound, generator=generator)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(num_members, 1, fan_out)))
        self.inputs = Normalizer(obs_dim, floor=floor)
        self.register_buffer("bias", torch.tensor(-torch.inf))
        self._learning_rate = learning_rate
        self._num_updates = num_updates

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data, from the last weights.

        Args:
            data: transitions (B, ...).
            generator: source of the members' draws and of the batches.

        Returns:
            model/missed_ends, the share of the ends that the mean member does not see, and
            model/false_ends, the share of the other rows that it takes for ends.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        self.inputs.fit(data.next_obs)
        x, ended = self.inputs(data.next_obs), data.terminated
        kinds = [torch.nonzero(ended)[:, 0], torch.nonzero(~ended)[:, 0]]
        if min(len(rows) for rows in kinds) == 0:
            self.bias.fill_(torch.inf if ended.any() else -torch.inf)
            return {}
        self.bias.zero_()
        members = self.weights[0].shape[0]

        def draw(size: int, below: int) -> Tensor:
            shape = (members, size)
            return torch.randint(below, shape, generator=generator, device=x.device)

        bootstraps = [rows[draw(len(rows), len(rows))] for rows in kinds]  # (M, n) each
        half = batch_size_for(len(ended), 128) // 2
        target = torch.cat([torch.ones(half), torch.zeros(half)]).to(x).expand(members, -1)
        optimizer = torch.optim.Adam(self.parameters(), lr=self._learning_rate)
        for update in range(self._num_updates):
            optimizer.param_groups[0]["lr"] = self._learning_rate * (1 - update / self._num_updates)
            rows = [own.gather(1, draw(half, own.shape[1])) for own in bootstraps]
            loss = binary_cross_entropy_with_logits(
                self._logits(x[torch.cat(rows, 1)]), target, reduction="sum"
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not torch.isfinite(loss):
            raise NumericalFault(f"termination loss is {loss.item()}")
        with torch.no_grad():
            found = self(data.next_obs)
        missed, false = (~found[kinds[0]]).double(), found[kinds[1]].double()
        return {"model/missed_ends": missed.mean().item(), "model/false_ends": false.mean().item()}

    def forward(self, next_obs: Tensor, members: Sequence[int] = ()) -> Tensor:
        """Tell which of next_obs end the episode.

        Args:
            next_obs: (B, obs_dim).
            members: the members that judge, each one of equal blocks of rows; none: all, by their
                mean logit.

        Returns:
            (B,) bool.
        """
        x = self.inputs(next_obs)
        if members:
            logits = self._logits(in_blocks(x, len(members)), list(members)).flatten()[: len(x)]
        else:
            logits = self._logits(x.expand(self.weights[0].shape[0], *x.shape)).mean(0)
        return logits + self.bias > 0

    def _logits(self, x: Tensor, members: list[int] | None = None) -> Tensor:
        """Evaluate the named members, or all, on their rows x (G, n, obs_dim): (G, n)."""
        weights, biases = list(self.weights), list(self.biases)
        if members is not None:
            weights, biases = [w[members] for w in weights], [b[members] for b in biases]
        return evaluate(x, weights, biases)[..., 0]
