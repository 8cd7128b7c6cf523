"""Sparse ReLU dynamics: a network pruned to a few ReLUs, so that exact planning is possible.

Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics).
"""

from __future__ import annotations

import copy
from typing import Annotated, Literal, final

import torch
from annotated_types import Ge
from torch import Tensor

from mbrl.dynamics.base import Belief, assign_members
from mbrl.dynamics.sparse_relu.interaction_network import (
    InteractionNetwork,
    InteractionNetworks,
    to_relu_network,
)
from mbrl.dynamics.sparse_relu.training import RolloutTraining, rollout_error
from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator
from mbrl.nn.mlp import split_blocks
from mbrl.nn.normalizer import ROUNDING, divisor, size, spread
from mbrl.nn.products import FastProducts
from mbrl.relu import PiecewiseLinearCost, ReluNetwork, average, learned_reward
from mbrl.roles import Dynamics
from mbrl.types import (
    ActionSpec,
    InteractionEdges,
    Prediction,
    Task,
    Transitions,
)
from mbrl.values import Count, CountOrZero, checked


@final
class SparseReLU(Dynamics):
    """Affine map plus a few ReLUs for the change of obs, Liu et al. 2023.

    A fit trains all neurons, then prunes them in stages. In each stage the gate of every neuron
    (ReLU, identity or zero) is opened and trained, ReLUs beyond the stage's budget costing
    something. Then the least important neurons are replaced by their linear fits, and the rest is
    trained with fixed gates.

    The prediction is deterministic. Its reward is minus a piecewise linear cost, which exact
    planners ask for.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment. If it has interaction edges, one network is shared
            by all edges of a kind, and hidden and schedule are those of each kind.
        generator: source of the initial weights.
        hidden: neurons of each layer before pruning.
        schedule: ReLUs left after each stage, falling; () prunes nothing.
        num_members: networks, each on its own bootstrap of the data. Planners that ask for one
            network get their mean, with the ReLUs of all.
        cost: where the cost comes from:
            "known": from the task.
            "learned": the reward is predicted, as one more output of the network.
            "auto": from the task where it has one.
        dense_updates: gradient steps before the first stage.
        stage_updates: gradient steps of each stage, half of them with open gates.
        training: how gradient steps are computed.
        device: where the networks live.

    Raises:
        BadInput: if a cost is to be known that the task does not have, if it is to be learned where
            there are interaction edges, or if the schedule does not fall.
    """

    target_std: Tensor  # (targets,) units of the change, and of a learned reward; see _units
    fitted: Tensor  # () bool

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        task: Task,
        generator: torch.Generator | int,
        hidden: tuple[Count, ...] = (32, 32),
        schedule: tuple[Count, ...] = (32, 16),
        num_members: Count = 1,
        cost: Literal["auto", "known", "learned"] = "auto",
        dense_updates: CountOrZero = 1000,
        stage_updates: Annotated[int, Ge(2)] = 1000,
        training: RolloutTraining = RolloutTraining(),  # noqa: B008 (it is frozen)
        device: torch.device | str = "cpu",
    ):
        """Draw the initial weights."""
        generator = as_generator(generator, device)
        super().__init__()
        if cost == "known" and task.cost is None:
            raise BadInput(
                "cost=known: this environment does not state its cost; should be learned"
            )
        sizes = [sum(hidden), *schedule]
        if any(a <= b for a, b in zip(sizes[:-1], sizes[1:], strict=True)):
            raise BadInput(
                f"schedule={list(schedule)}: each stage should keep fewer ReLUs than the one "
                f"before, of {sum(hidden)} in all"
            )
        self.obs_dim, self.act_dim, self.task = obs_dim, action.dim, task
        self.learns_reward = cost == "learned" or (cost == "auto" and task.cost is None)
        self.num_targets = obs_dim + self.learns_reward
        self.num_members, self.schedule = num_members, tuple(schedule)
        self._dense_updates, self._stage_updates = dense_updates, stage_updates
        self._training = training
        if task.interaction_edges and self.learns_reward:
            raise BadInput(
                "cost=learned: not possible with interaction edges; should be known, by the task"
            )
        whole = InteractionEdges(
            torch.eye(obs_dim + action.dim)[None], torch.eye(self.num_targets)[None]
        )
        self._sparse = InteractionNetworks(
            InteractionNetwork(num_members, edges, tuple(hidden), generator=generator)
            for edges in task.interaction_edges or (whole,)
        )
        self._dense = copy.deepcopy(self._sparse)  # before pruning; the next fit starts from it
        self.register_buffer("target_std", torch.ones(self.num_targets))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.to(device)
        self._compiled: dict[int, tuple[list[int], CompiledNetwork]] = {}

    @property
    def cost(self) -> PiecewiseLinearCost:
        """Return the cost of [outputs, action]."""
        if self.task.cost is None or self.learns_reward:
            return learned_reward(self.num_targets + self._num_anchors, self.act_dim)
        return self.task.cost

    # ---- fitting ---------------------------------------------------------------------------

    @FastProducts()
    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Train all neurons, from the last fit's weights, then prune in stages; see Dynamics.fit.

        Raises:
            NumericalFault: if the loss is not finite.
        """
        generator = as_generator(generator, data.obs.device)
        x, change = torch.cat([data.obs, data.action], 1), self._targets(data)
        self.target_std.copy_(self._units(data, change))
        train, held = self._training.windows(data)
        self._sparse.load_state_dict(self._dense.state_dict())
        for network in self._sparse.kinds():
            network.fit_scales(x, self.target_std)
        if not self.fitted:
            size = min(len(x), 8192)
            rows = torch.randint(len(x), (size,), generator=generator, device=x.device)
            self._sparse.fit_skips(x[rows], change[rows], divisor(self.target_std))
        windows = self._bootstrap(train, generator)
        self._run(data, windows, self._dense_updates, generator)
        self._dense.load_state_dict(self._sparse.state_dict())
        for budget in self.schedule:
            self._sparse.relax()
            self._run(data, windows, self._stage_updates // 2, generator, budget)
            rows = torch.randint(len(x), (4096,), generator=generator, device=x.device)
            self._sparse.prune(x[rows].expand(self.num_members, -1, -1), budget)
            self._run(data, windows, -(-self._stage_updates // 2), generator)
        self.fitted.fill_(True)
        return self._measure(data, held[:4096])

    def _targets(self, data: Transitions) -> Tensor:
        """Return the change of obs, and the reward if it is learned: (B, targets)."""
        change = data.next_obs - data.obs
        return torch.cat([change, data.reward[:, None]], 1) if self.learns_reward else change

    def _units(self, data: Transitions, change: Tensor) -> Tensor:
        """Return the units (targets,) of the targets change (B, targets) of data (B, ...).

        They are the standard deviations. The targets are not centered, so the unit of a constant
        one is its size, and 0 only if it is 0 itself.
        """
        of = size(data.obs)
        if self.learns_reward:
            of = torch.cat([of, size(data.reward[:, None])])
        level = size(change)
        unit = spread(change, of=of)
        return torch.where((unit == 0) & (level > ROUNDING * of), level, unit)

    def _bootstrap(self, windows: Tensor, generator: torch.Generator) -> Tensor:
        """Sample each member's windows (M, W, L) out of windows (W, L); a single one gets all."""
        if self.num_members == 1:
            return windows[None]
        shape = (self.num_members, len(windows))
        return windows[
            torch.randint(len(windows), shape, generator=generator, device=windows.device)
        ]

    def _run(
        self,
        data: Transitions,
        windows: Tensor,
        num_updates: int,
        generator: torch.Generator,
        budget: int | None = None,
    ) -> None:
        """Train on windows (M, W, L); see RolloutTraining.run."""
        self._training.run(
            self._sparse,
            data,
            windows,
            num_updates,
            unit=divisor(self.target_std),
            generator=generator,
            budget=budget,
        )

    @torch.no_grad()
    def _measure(self, data: Transitions, windows: Tensor) -> dict[str, float]:
        """Compute the members' mean squared errors along held-out windows (W, L)."""
        rows = windows.expand(self.num_members, -1, -1)
        whole = rollout_error(self._sparse, data, rows, divisor(self.target_std))
        first = rollout_error(self._sparse, data, rows[..., :1], divisor(self.target_std))
        return {
            "model/holdout_mse": (first / self.num_members).item(),
            "model/rollout_mse": (whole / self.num_members).item(),
            "model/relus": float(self.network().num_neurons),
        }

    # ---- prediction ------------------------------------------------------------------------

    @property
    def _num_anchors(self) -> int:
        """Return how many numbers a belief holds beside obs."""
        if self.task.anchors is None:
            return 0
        return self.task.anchors(torch.zeros(1, self.obs_dim)).shape[1]

    def network(self, member: int | None = None) -> ReluNetwork:
        """Return a member, or the mean of all, as one network in float64 and raw units.

        Args:
            member: its number; None for the mean.
        """
        members = range(self.num_members) if member is None else (member,)
        networks = [
            to_relu_network(self._sparse.kinds(), m, self.obs_dim, self._num_anchors)
            for m in members
        ]
        return networks[0] if len(networks) == 1 else average(tuple(networks))

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Belief:
        """Return the belief at obs (B, obs_dim), each particle with one member for good.

        Its rows are obs and the task's anchors (num_particles * B, obs_dim + anchors). Without a
        generator they follow the members' mean; see Model.initial.
        """
        state = obs if self.task.anchors is None else torch.cat([obs, self.task.anchors(obs)], 1)
        rows = state.repeat(num_particles, 1)
        if generator is None or self.num_members == 1:
            return Belief(rows, ())
        members = range(self.num_members)
        return Belief(
            rows, assign_members(members, obs.shape[0], num_particles, generator=generator)
        )

    def observe(
        self, state: Belief, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Belief:
        """Return the belief with all particles at obs (B, obs_dim); see Model.observe."""
        num_particles = state.obs.shape[0] // obs.shape[0]
        return self.initial(obs, num_particles=num_particles)._replace(members=state.members)

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step of each row by its own member, without noise; see Model.step."""
        x = torch.cat([state.obs, action], 1)
        if len(state.members) > 1:
            blocks = split_blocks(x, len(state.members))
            out = [self._compile(m)(rows) for m, rows in zip(state.members, blocks, strict=True)]
            out = torch.cat(out)[: len(x)]
        else:
            out = self._compile(state.members[0] if state.members else None)(x)
        uncertainty = self._spread(x) if with_uncertainty else None
        rows = out[:, : state.obs.shape[1]]  # obs and anchors
        next_obs = rows[:, : self.obs_dim]
        reward = -self.cost.step(out, action)
        if self.task.terminated is None:
            terminated = torch.zeros_like(reward, dtype=torch.bool)
        else:
            terminated = self.task.terminated(state.obs[:, : self.obs_dim], action, next_obs)
        valid = torch.ones_like(terminated)
        prediction = Prediction(next_obs, reward, terminated, valid, uncertainty)
        return Belief(rows, state.members), prediction

    def candidates(
        self, state: Belief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Belief, Prediction]:
        """Return num successors of each row for action (B, act_dim), from the members in turn.

        See OffersCandidates.
        """
        predictions = [
            self.step(Belief(state.obs, (k % self.num_members,)), action)[1] for k in range(num)
        ]
        next_obs, reward, terminated, valid = (
            torch.cat(field) for field in zip(*(p[:4] for p in predictions), strict=True)
        )
        anchors = state.obs[:, self.obs_dim :].repeat(num, 1)
        belief = Belief(torch.cat([next_obs, anchors], 1), state.members)
        return belief, Prediction(next_obs, reward, terminated, valid, None)

    @torch.no_grad()
    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the members' disagreement (B,) at obs (B, obs_dim), action (B, act_dim)."""
        return self._spread(torch.cat([self.initial(obs).obs, action], 1))

    def terminal_value(self, obs: Tensor) -> Tensor:
        """Return minus the terminal cost (B,) of obs (B, obs_dim)."""
        return -self.cost.last(obs)

    def _spread(self, x: Tensor) -> Tensor:
        """Return the members' disagreement (B,) on rows x (B, n), in standard deviations."""
        means = torch.stack([self._compile(m)(x) for m in range(self.num_members)])
        spread = (
            means[..., : self.obs_dim].var(0, correction=0)
            / divisor(self.target_std[: self.obs_dim]) ** 2
        )
        return spread.mean(-1).sqrt()

    def _compile(self, member: int | None) -> CompiledNetwork:
        """Return a member, or the mean of all, as few matrices; built anew when weights change."""
        version = [x._version for x in (*self._sparse.parameters(), *self._sparse.buffers())]
        key = -1 if member is None else member
        cached = self._compiled.get(key)
        if cached is None or cached[0] != version:
            cached = version, CompiledNetwork(self.network(member), self.target_std)
            self._compiled[key] = cached
        return cached[1]


@final
class CompiledNetwork:
    """Network of ReLUs in single precision.

    Args:
        network: all of whose neurons are ReLUs.
        like: a tensor (...) of the dtype and device to compute in.
    """

    def __init__(self, network: ReluNetwork, like: Tensor):
        """Copy the weights."""
        layers = [(x.weight, x.bias) for x in network.layers]
        self._layers = [
            (torch.from_numpy(w.T.copy()).to(like), torch.from_numpy(b).to(like))
            for w, b in (*layers, (network.weight, network.bias))
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate x (B, state + act_dim): (B, outputs)."""
        for weight, bias in self._layers[:-1]:
            x = torch.cat([x, torch.addmm(bias, x, weight).relu()], 1)
        weight, bias = self._layers[-1]
        return torch.addmm(bias, x, weight)
