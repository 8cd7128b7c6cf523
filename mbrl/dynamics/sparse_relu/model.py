"""Sparse ReLU dynamics: a residual network pruned to a few ReLUs, fit for exact planning.

Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics).
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from mbrl.dynamics.base import Belief, assign_members
from mbrl.dynamics.sparse_relu.interaction_network import InteractionNetwork, unroll
from mbrl.errors import BadInput, NumericalFault
from mbrl.nn.mlp import split_blocks
from mbrl.relu import PiecewiseLinearCost, ReluNetwork, average, learned_reward
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, InteractionEdges, Prediction, Task, Transitions, sequences


class SparseReLU(Dynamics):
    """Predict the change of obs by an affine skip and a few ReLUs (Liu et al. 2023).

    A fit trains all neurons on rollouts, then goes down the schedule: at each stage the choice of
    every neuron (ReLU, identity, zero) is relaxed and charged beyond the stage's budget, the worst
    are dropped, each one's linear fit going into the skip, and the rest are tuned with hard gates.
    The prediction is deterministic; rewards are minus the cost that a planner may ask for.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment; where it has edges, one network is shared by all
            edges of a kind, and hidden and schedule are those of each kind.
        generator: source of the initial weights.
        hidden: neurons of each layer at first.
        schedule: ReLUs left after each stage; () prunes nothing.
        num_members: networks, each on its own bootstrap; planners that ask for one network get
            their mean, with all their ReLUs.
        cost: "known" takes the task's cost, "learned" predicts the reward as one more output.
        rollout_length: steps of the loss.
        dense_updates: gradient steps before the first stage.
        stage_updates: gradient steps of each stage, half of them with relaxed choices.
        batch_size: rollouts in a gradient step.
        learning_rate: of Adam, falling to a tenth over a stage.
        gate_rate: likewise, of the choices.
        gate_weight: charge for each expected ReLU beyond the budget.
        stability_weight: charge for ReLUs that change side nearby; fewer binaries in a program.
        stability_radius: how near, in standard deviations of the inputs.
        holdout: share of the episodes held out.
        device: where the networks live.

    Raises:
        BadInput: if a cost is to be known that the task does not say, or the schedule rises.
    """

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        generator: torch.Generator,
        hidden: tuple[int, ...] = (32, 32),
        schedule: tuple[int, ...] = (32, 16),
        num_members: int = 1,
        cost: Literal["auto", "known", "learned"] = "auto",
        rollout_length: int = 4,
        dense_updates: int = 1000,
        stage_updates: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 1e-2,
        gate_rate: float = 0.1,
        gate_weight: float = 1e-2,
        stability_weight: float = 0.0,
        stability_radius: float = 0.1,
        holdout: float = 0.1,
        device: torch.device | str = "cpu",
    ):
        """Draw the networks."""
        super().__init__()
        if cost == "known" and task.cost is None:
            raise BadInput("dynamics.cost=known: this environment does not say its cost; learned?")
        falling = [sum(hidden), *schedule]
        if any(a <= b for a, b in zip(falling[:-1], falling[1:], strict=True)):
            raise BadInput(
                f"dynamics.schedule={list(schedule)}: each stage keeps fewer ReLUs than the one "
                f"before, of {sum(hidden)} in all"
            )
        self.obs_dim, self.act_dim, self.task = obs_dim, action.dim, task
        self.learns_reward = cost == "learned" or (cost == "auto" and task.cost is None)
        self.num_targets = obs_dim + self.learns_reward
        self.num_members, self.schedule = num_members, tuple(schedule)
        self._length, self._batch_size = rollout_length, batch_size
        self._updates, self._learning_rate = (dense_updates, stage_updates), learning_rate
        self._gate_rate, self._gate_weight = gate_rate, gate_weight
        self._holdout = holdout
        self._stability = stability_weight, stability_radius
        if task.interaction_edges and self.learns_reward:
            raise BadInput(
                "dynamics.cost=learned: not with shared networks; take the task's, known"
            )
        whole = InteractionEdges(
            torch.eye(obs_dim + action.dim)[None], torch.eye(self.num_targets)[None]
        )
        self._sparse = nn.ModuleList(
            InteractionNetwork(num_members, kind, tuple(hidden), generator=generator)
            for kind in task.interaction_edges or (whole,)
        )
        self._dense = copy.deepcopy(self._sparse)  # before pruning, where the next fit goes on
        self.target_std: Tensor
        self.fitted: Tensor
        self.register_buffer("target_std", torch.ones(self.num_targets))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.to(device)
        self._compiled: dict[int, tuple[list[int], Compiled]] = {}

    @property
    def cost(self) -> PiecewiseLinearCost:
        """Give what is charged for [outputs, action]."""
        if self.learns_reward:
            return learned_reward(self.num_targets + self._anchors, self.act_dim)
        assert self.task.cost is not None
        return self.task.cost

    # ---- fitting ---------------------------------------------------------------------------

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data: train all neurons, from the last fit's, then prune by stages."""
        length = self._length
        windows = sequences(data, length)
        while not len(windows):
            length -= 1
            windows = sequences(data, length)
        change = self._targets(data)
        self.target_std.copy_(change.double().std(0, correction=0).clamp(min=1e-3))
        x = torch.cat([data.obs, data.action], 1)
        every = max(2, round(1 / self._holdout))
        held = data.episode[windows[:, 0]] % every == every - 1
        if not held.any() or held.all():
            held = torch.zeros_like(held)
        train, test = windows[~held], windows[held if held.any() else ~held]
        self._sparse.load_state_dict(self._dense.state_dict())
        for kind in self._kinds():
            kind.normalise(x, self.target_std)
        if not self.fitted:
            self._start_linear(x, change, generator)
        bootstrap = train
        if self.num_members > 1:
            picks = (self.num_members, len(train))
            chosen = torch.randint(len(train), picks, generator=generator, device=x.device)
            bootstrap = train[chosen]
        bootstrap = (
            bootstrap.expand(self.num_members, -1, -1) if bootstrap.dim() == 2 else bootstrap
        )
        self._train(data, bootstrap, self._updates[0], generator)
        self._dense.load_state_dict(self._sparse.state_dict())
        for budget in self.schedule:
            for kind in self._kinds():
                kind.net.relax()
            self._train(data, bootstrap, self._updates[1] // 2, generator, budget=budget)
            rows = torch.randint(len(x), (4096,), generator=generator, device=x.device)
            for kind in self._kinds():
                kind.net.prune(kind.rows(x[rows].expand(self.num_members, -1, -1)), budget)
            self._train(data, bootstrap, -(-self._updates[1] // 2), generator)
        self.fitted.fill_(True)
        return self._measure(data, test[:4096])

    def _kinds(self) -> list[InteractionNetwork]:
        """List the networks, one for each kind of edge."""
        return [kind for kind in self._sparse if isinstance(kind, InteractionNetwork)]

    def _targets(self, data: Transitions) -> Tensor:
        """Give the change of obs, and the reward if it is learned: (B, targets)."""
        change = data.next_obs - data.obs
        return torch.cat([change, data.reward[:, None]], 1) if self.learns_reward else change

    @torch.no_grad()
    def _start_linear(self, x: Tensor, change: Tensor, generator: torch.Generator) -> None:
        """Begin with the affine map that fits best."""
        rows = torch.randint(len(x), (min(len(x), 8192),), generator=generator, device=x.device)
        parts = [kind.features(x[rows]) for kind in self._kinds()]
        table = (torch.cat(parts, 2) / self.target_std[:, None]).flatten(0, 1).double()
        goal = (change[rows] / self.target_std).flatten().double()
        gram = table.T @ table + 1e-6 * len(table) * torch.eye(table.shape[1]).to(table)
        found = torch.linalg.solve(gram, table.T @ goal).to(x.dtype)
        pieces = found.split([part.shape[2] for part in parts])
        for kind, piece in zip(self._kinds(), pieces, strict=True):
            kind.set_skip(piece)

    def _train(
        self,
        data: Transitions,
        windows: Tensor,
        updates: int,
        generator: torch.Generator,
        budget: int | None = None,
    ) -> None:
        """Take gradient steps on rollouts along windows (M, W, L); a budget charges open gates."""
        named = list(self._sparse.named_parameters())
        gates = [p for name, p in named if name.endswith("logits")]
        rest = [p for name, p in named if not name.endswith("logits")]
        groups = [{"params": rest}, {"params": gates, "lr": self._gate_rate}]
        optimizer = torch.optim.Adam(groups, lr=self._learning_rate, fused=True)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / max(1, updates)))
        size = min(self._batch_size, windows.shape[1])
        members = torch.arange(self.num_members, device=windows.device)[:, None]
        loss = torch.zeros(())
        for _ in range(updates):
            picks = torch.randint(
                windows.shape[1],
                (self.num_members, size),
                generator=generator,
                device=windows.device,
            )
            rows = windows[members, picks]  # (M, size, L)
            loss = self._rollout_error(data, rows)
            if budget is not None:
                excess = [kind.net.excess(budget).sum() for kind in self._kinds()]
                loss = loss + self._gate_weight * torch.stack(excess).sum()
            weight, radius = self._stability
            if weight:
                x = torch.cat([data.obs, data.action], 1)[rows[..., 0]]
                doubts = [k.net.instability(k.rows(x), radius).sum() for k in self._kinds()]
                loss = loss + weight * torch.stack(doubts).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        if not torch.isfinite(loss):
            raise NumericalFault(f"dynamics loss is {loss.item()} after {updates} updates")

    def _rollout_error(self, data: Transitions, rows: Tensor) -> Tensor:
        """Give the members' summed squared errors along rows (M, B, L), normalised units."""
        obs, errors = data.obs[rows[..., 0]], []
        for t in range(rows.shape[2]):
            here = rows[..., t]
            change = self._change(torch.cat([obs, data.action[here]], -1))
            obs = obs + change[..., : self.obs_dim]
            error = obs - data.next_obs[here]
            if self.learns_reward:
                missed = change[..., -1:] - data.reward[here][..., None]
                error = torch.cat([error, missed], -1)
            errors.append((error / self.target_std).square().mean((1, 2)))
        return torch.stack(errors).mean(0).sum()

    def _change(self, x: Tensor) -> Tensor:
        """Predict changes (M, B, targets) for x (M, B, obs_dim + act_dim)."""
        parts = [kind(x) for kind in self._kinds()]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    @torch.no_grad()
    def _measure(self, data: Transitions, windows: Tensor) -> dict[str, float]:
        """Measure the members' mean squared errors along held-out windows (W, L)."""
        rows = windows.expand(self.num_members, -1, -1)
        whole = self._rollout_error(data, rows) / self.num_members
        first = self._rollout_error(data, rows[..., :1]) / self.num_members
        return {
            "model/holdout_mse": first.item(),
            "model/rollout_mse": whole.item(),
            "model/relus": float(self.network().num_neurons),
        }

    # ---- prediction ------------------------------------------------------------------------

    @property
    def _anchors(self) -> int:
        """Count what a belief holds beside obs."""
        if self.task.anchors is None:
            return 0
        return self.task.anchors(torch.zeros(1, self.obs_dim)).shape[1]

    def network(self, member: int | None = None) -> ReluNetwork:
        """Give the mean prediction, or a member's, in float64, raw units."""
        members = range(self.num_members) if member is None else (member,)
        networks = [unroll(self._kinds(), m, self.obs_dim, self._anchors) for m in members]
        return networks[0] if len(networks) == 1 else average(tuple(networks))

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Belief:
        """Assign each particle a member for good; without a generator, their mean."""
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
        """Move all particles to obs (B, obs_dim): the environment is Markov."""
        moved = self.initial(obs, num_particles=state.obs.shape[0] // obs.shape[0])
        return moved._replace(members=state.members)

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step of each row by its own member; nothing is drawn."""
        x = torch.cat([state.obs, action], 1)
        if len(state.members) > 1:
            blocks = split_blocks(x, len(state.members))
            out = [self._compile(m)(rows) for m, rows in zip(state.members, blocks, strict=True)]
            out = torch.cat(out)[: len(x)]
        else:
            out = self._compile(state.members[0] if state.members else -1)(x)
        doubt = self._spread(x) if with_uncertainty else None
        following = out[:, : state.obs.shape[1]]
        obs = following[:, : self.obs_dim]
        reward = -self.cost.step(out, action)
        if self.task.terminated is None:
            ended = torch.zeros_like(reward, dtype=torch.bool)
        else:
            ended = self.task.terminated(state.obs[:, : self.obs_dim], action, obs)
        prediction = Prediction(obs, reward, ended, torch.ones_like(ended), doubt)
        return Belief(following, state.members), prediction

    def candidates(
        self, state: Belief, action: Tensor, num: int, *, generator: torch.Generator
    ) -> tuple[Belief, Prediction]:
        """Offer num successors of each row, the members in turn; K leads: (num * B, ...)."""
        offered = []
        for k in range(num):
            member = Belief(state.obs, (k % self.num_members,))
            offered.append(self.step(member, action)[1])
        parts = [torch.cat(p) for p in zip(*(o[:4] for o in offered), strict=True)]
        prediction = Prediction(parts[0], parts[1], parts[2], parts[3], None)
        anchors = state.obs[:, self.obs_dim :].repeat(num, 1)
        return Belief(torch.cat([parts[0], anchors], 1), state.members), prediction

    @torch.no_grad()
    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the members' disagreement (B,) at obs (B, obs_dim), action (B, act_dim)."""
        return self._spread(torch.cat([self.initial(obs).obs, action], 1))

    def terminal_value(self, obs: Tensor) -> Tensor:
        """Give minus the terminal cost of obs (B, obs_dim): (B,)."""
        return -self.cost.last(obs)

    def _spread(self, x: Tensor) -> Tensor:
        """Measure the members' disagreement on rows x, in standard deviations: (B,)."""
        means = torch.stack([self._compile(m)(x) for m in range(self.num_members)])
        spread = (
            means[..., : self.obs_dim].var(0, correction=0) / self.target_std[: self.obs_dim] ** 2
        )
        return spread.mean(-1).sqrt()

    def _compile(self, member: int) -> Compiled:
        """Give a member, or -1 for their mean, as few matrices; made anew when weights change."""
        version = [x._version for x in (*self._sparse.parameters(), *self._sparse.buffers())]
        kept = self._compiled.get(member)
        if kept is None or kept[0] != version:
            network = self.network(None if member < 0 else member)
            kept = version, Compiled(network, self.target_std)
            self._compiled[member] = kept
        return kept[1]


class Compiled:
    """A network in single precision.

    Args:
        network: all of it ReLUs.
        like: a tensor of the dtype and device to compute in.
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
