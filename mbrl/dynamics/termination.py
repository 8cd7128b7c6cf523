"""Whether an episode ends: a classifier of the state that was reached."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mbrl.dynamics.fit import batch_size_for
from mbrl.dynamics.normalizer import Normalizer
from mbrl.errors import NumericalFault
from mbrl.types import Transitions


class TerminationClassifier(nn.Module):
    """Tell from next_obs whether it ends the episode; apart from the dynamics, on purpose.

    As one more output of a dynamics network it is drowned: ends are rare, and the likelihood of
    nearly exact dynamics has gradients many orders of magnitude larger. Ends and other rows count
    alike in the loss. Before an end was ever seen, nothing ends.

    Args:
        obs_dim: length of an observation.
        generator: source of the initial weights.
        hidden: width of its two hidden layers.
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
        hidden: int = 64,
        learning_rate: float = 3e-3,
        num_updates: int = 1000,
        floor: float = 1e-3,
    ):
        """Draw the network."""
        super().__init__()
        sizes = [obs_dim, hidden, hidden, 1]
        layers = []
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device=generator.device)
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
            nn.init.zeros_(layer.bias)
            layers += [layer, nn.SiLU()]
        self.network = nn.Sequential(*layers[:-1])
        self.inputs = Normalizer(obs_dim, floor=floor)
        self.register_buffer("bias", torch.tensor(-torch.inf))
        self._learning_rate = learning_rate
        self._num_updates = num_updates

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data, from the last weights.

        Args:
            data: transitions (B, ...).
            generator: source of the batches.

        Returns:
            model/missed_ends, the share of the ends that it does not see, and model/false_ends, the
            share of the other rows that it takes for ends.

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
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self._learning_rate)
        half = batch_size_for(len(ended), 128)
        target = torch.cat([torch.ones(half), torch.zeros(half)]).to(x)
        for update in range(self._num_updates):
            optimizer.param_groups[0]["lr"] = self._learning_rate * (1 - update / self._num_updates)
            drawn = [
                rows[torch.randint(len(rows), (half,), generator=generator, device=x.device)]
                for rows in kinds
            ]
            loss = binary_cross_entropy_with_logits(self.network(x[torch.cat(drawn)])[:, 0], target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not torch.isfinite(loss):
            raise NumericalFault(f"termination loss is {loss.item()}")
        with torch.no_grad():
            found = self(data.next_obs)
        missed, false = (~found[kinds[0]]).double(), found[kinds[1]].double()
        return {"model/missed_ends": missed.mean().item(), "model/false_ends": false.mean().item()}

    def forward(self, next_obs: Tensor) -> Tensor:
        """Tell which of next_obs (B, obs_dim) end the episode: (B,) bool."""
        return self.network(self.inputs(next_obs))[:, 0] + self.bias > 0
