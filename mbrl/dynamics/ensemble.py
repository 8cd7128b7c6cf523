"""The probabilistic ensemble: Gaussian networks trained on bootstraps of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from mbrl.dynamics.termination import TerminationClassifier
from mbrl.errors import BadInput, NumericalFault
from mbrl.nn.batched import draw, evaluate, in_blocks, in_turn
from mbrl.nn.cuda_graphs import Graphed
from mbrl.nn.early_stopping import BestSnapshots, batch_size_for, split_holdout
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Prediction, Task, Transitions


class Belief(NamedTuple):
    """Where imagined rows stand and which member each follows."""

    obs: Tensor  # (B, obs_dim)
    members: tuple[int, ...]  # G members; rows are G equal blocks in this order; () = their mean


class Output(NamedTuple):
    """The raw output of members on their rows, normalised units."""

    mean: Tensor  # (M, n, targets) of [obs change | reward if learned]
    log_var: Tensor  # (M, n, targets)


class GaussianEnsemble(Dynamics):
    """Predict a Gaussian over the change of obs (and the reward), one per member.

    Chua et al. 2018 (PETS, TS-infinity propagation); Janner et al. 2019 (MBPO, elites, early stop).

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment.
        generator: source of the initial weights.
        num_members: networks trained.
        num_elites: networks used, the best on the holdout.
        hidden: width of a hidden layer.
        num_layers: hidden layers.
        learning_rate: of Adam.
        weight_decay: of the last layer; a quarter of it on the first, linear between.
        batch_size: largest batch; smaller ones are taken while data are few.
        holdout: share of the rows held out.
        patience: epochs without a gain of 1% before a fit stops.
        min_updates: gradient steps a fit takes at least.
        max_updates: gradient steps a fit takes at most.
        floor: smallest standard deviation of the normalisers, in the data's units.
        reward: "known" takes it from the task, "learned" predicts it.
        termination: likewise; "auto" is known where the task says, learned elsewhere.
        uncertainty: spread of the "elites"' means, in standard deviations of a change; that of a
            "pair", the first two, which costs less and then predicts for the mean belief as well;
            as COPlanner's code, of all members' "samples", the reward's too, in raw units; or, as
            MOPO, the norm of the largest "std" of an elite, the reward's too; "raw_std": unscaled.
        device: where the networks live.

    Raises:
        BadInput: if something is to be known that the task does not say, or elites > members.
    """

    elites: Tensor  # (num_elites,) int64
    inputs: Normalizer
    targets: Normalizer

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        generator: torch.Generator,
        num_members: int = 7,
        num_elites: int = 5,
        hidden: int = 200,
        num_layers: int = 4,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        batch_size: int = 256,
        holdout: float = 0.2,
        patience: int = 5,
        min_updates: int = 500,
        max_updates: int = 10_000,
        floor: float = 1e-3,
        reward: Literal["learned", "known"] = "learned",
        termination: Literal["auto", "learned", "known"] = "auto",
        uncertainty: Literal["elites", "pair", "samples", "std", "raw_std"] = "elites",
        device: torch.device | str = "cpu",
    ):
        """Draw the networks."""
        super().__init__()
        for name, choice, known in (
            ("reward", reward, task.reward),
            ("termination", termination, task.terminated),
        ):
            if choice == "known" and known is None:
                raise BadInput(f"dynamics.{name}=known: this environment does not say it; learned?")
        if num_elites > num_members:
            raise BadInput(f"dynamics.num_elites={num_elites}: more than num_members={num_members}")
        self.obs_dim = obs_dim
        self.num_members = num_members
        self.num_elites = num_elites
        self.task = task
        self.learns_reward = reward == "learned"
        learns_end = termination == "learned" or (termination == "auto" and task.terminated is None)
        self._uncertainty = uncertainty
        self._batch_size = batch_size
        self._holdout = holdout
        self._patience = patience
        self._updates = (min_updates, max_updates)

        self.num_targets = obs_dim + self.learns_reward
        inputs = obs_dim + action.dim
        widths = [inputs, *[hidden] * num_layers, 2 * self.num_targets]
        self.weights, self.biases = draw(num_members, widths, generator=generator)
        self.max_log_var = nn.Parameter(torch.full((self.num_targets,), 0.5))
        self.min_log_var = nn.Parameter(torch.full((self.num_targets,), -10.0))
        self.inputs = Normalizer(inputs, floor=floor)
        self.targets = Normalizer(self.num_targets, floor=floor)
        self.register_buffer("elites", torch.arange(num_elites))
        self.ends = (
            TerminationClassifier(
                obs_dim, generator=generator, num_members=num_members, floor=floor
            )
            if learns_end
            else None
        )
        self.to(device)

        decay = (torch.linspace(0.25, 1.0, len(widths) - 1) * weight_decay).tolist()
        self._groups = [
            *({"params": [w], "weight_decay": d} for w, d in zip(self.weights, decay, strict=True)),
            {"params": [*self.biases, self.max_log_var, self.min_log_var], "weight_decay": 0.0},
        ]
        self._learning_rate = learning_rate
        self._elite_list = list(range(num_elites))
        self._kept: tuple[list[int], list[Tensor], list[Tensor]] | None = None

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit to all data, from the last weights; see Dynamics.fit."""
        x, y = self._examples(data)
        self.inputs.fit(x)
        self.targets.fit(y)
        x, y = self.inputs(x), self.targets(y)
        train, held = (rows.to(x.device) for rows in split_holdout(x.shape[0], self._holdout))
        size = batch_size_for(train.shape[0], self._batch_size)
        rows = train.shape[0]
        draws = (self.num_members, rows)  # (M, n): each member's own draw of the data
        bootstrap = train[torch.randint(rows, draws, generator=generator, device=x.device)]

        rate, on_gpu = self._learning_rate, x.is_cuda
        optimizer = torch.optim.Adam(self._groups, lr=rate, fused=True, capturable=on_gpu)
        last_loss = x.new_zeros(())

        @Graphed
        def take_step(rows: Tensor) -> None:
            loss = self._loss(x[rows], y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last_loss.copy_(loss.detach())

        x_held, y_held = x[held], y[held]
        error, mse = self._holdout_error(x_held, y_held)
        snapshots = BestSnapshots([*self.weights, *self.biases, mse])
        snapshots.offer(error)
        least, most = self._updates
        updates = idle = 0
        while updates < most and (idle < self._patience or updates < least):
            order = torch.rand(bootstrap.shape, generator=generator, device=x.device).argsort(1)
            epoch = bootstrap.gather(1, order)
            for rows in epoch.split(size, dim=1):
                take_step(rows)
                updates += 1
                if updates == most:
                    break
            if not torch.isfinite(last_loss):
                raise NumericalFault(f"dynamics loss is {last_loss.item()} after {updates} updates")
            error, latest = self._holdout_error(x_held, y_held)
            mse.copy_(latest)
            idle = 0 if snapshots.offer(error) else idle + 1
        snapshots.restore()
        self.elites.copy_(snapshots.best.argsort()[: self.num_elites].sort().values)
        self._elite_list = self.elites.tolist()
        metrics = {
            "model/holdout_mse": mse[self.elites].mean().item(),
            "model/updates": float(updates),
        }
        return metrics | ({} if self.ends is None else self.ends.fit(data, generator=generator))

    def _examples(self, data: Transitions) -> tuple[Tensor, Tensor]:
        """Build inputs (B, obs_dim + act_dim) and targets (B, targets), raw units."""
        change = data.next_obs - data.obs
        if self.learns_reward:
            change = torch.cat([change, data.reward[:, None]], 1)
        return torch.cat([data.obs, data.action], 1), change

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum the members' negative log likelihoods; x (M, n, in), y (M, n, targets)."""
        out = self._forward(x, [*self.weights], [*self.biases])
        error = (out.mean - y).square() * torch.exp(-out.log_var) + out.log_var
        loss = error.mean((1, 2)).sum()
        return loss + 0.01 * (self.max_log_var - self.min_log_var).sum()

    @torch.no_grad()
    def _holdout_error(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Measure each member on the holdout rows (n, ...), normalised units.

        Returns:
            The geometric mean of the targets' squared errors (M,): with the arithmetic mean, one
            target that cannot be predicted (the reward at rare ends) decides alone when a fit
            stops. And the arithmetic mean (M,), for the record.
        """
        shared = x.expand(self.num_members, *x.shape)
        out = self._forward(shared, [*self.weights], [*self.biases])
        errors = (out.mean - y).square().mean(1)  # (M, targets)
        return (errors + 1e-6).log().mean(1).exp(), errors.mean(1)

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Belief:
        """Assign each particle an elite for good (TS-infinity); without a generator, their mean."""
        if generator is None:
            return Belief(obs.repeat(num_particles, 1), ())
        elites = self.num_elites
        if num_particles == 1:  # each row is a particle
            blocks = min(elites, obs.shape[0])
        else:
            blocks = elites if num_particles % elites == 0 else num_particles
        order = torch.randperm(elites, generator=generator, device=generator.device)
        chosen = order.repeat(-(-blocks // elites))[:blocks].sort().values
        members = tuple(self._elite_list[i] for i in chosen.tolist())
        return Belief(obs.repeat(num_particles, 1), members)

    def observe(
        self, state: Belief, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Belief:
        """Move all particles to obs (B, obs_dim): the environment is Markov."""
        return state._replace(obs=obs.repeat(state.obs.shape[0] // obs.shape[0], 1))

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step of each row by its own member; see Model.step."""
        if generator is None and not state.members and self._uncertainty in ("elites", "pair"):
            return self._mean_step(state, action, with_uncertainty)
        x = self.inputs(torch.cat([state.obs, action], 1))
        uncertainty = None
        if with_uncertainty or not state.members:
            asked = self._asked() if with_uncertainty else self._elite_list
            everyone = self._run(x.expand(len(asked), *x.shape), asked)
            if with_uncertainty:
                uncertainty = self._doubt(everyone, generator)
        if state.members:
            out = self._run(in_blocks(x, len(state.members)), list(state.members))
            mean, log_var = (t.flatten(0, 1)[: len(x)] for t in (out.mean, out.log_var))
        else:
            mean = everyone.mean.mean(0)
            variance = everyone.log_var.exp().mean(0) + everyone.mean.var(0, correction=0)
            log_var = variance.log()
        pred = self._predict(state.obs, action, mean, log_var, state.members, generator)
        return Belief(pred.next_obs, state.members), pred._replace(uncertainty=uncertainty)

    def _mean_step(
        self, state: Belief, action: Tensor, with_uncertainty: bool
    ) -> tuple[Belief, Prediction]:
        """Predict by the elites' means alone: nothing is drawn, so no variance is computed."""
        x = self.inputs(torch.cat([state.obs, action], 1))
        weights, biases = self._mean_layers(self._asked() if with_uncertainty else self._elite_list)
        x = x.expand(weights[0].shape[0], *x.shape)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = silu(torch.baddbmm(bias, x, weight), inplace=not torch.is_grad_enabled())
        means = torch.baddbmm(biases[-1], weights[-1], x.mT)  # (M, targets, B)
        mean = means.mean(0)
        pred = self._predict(state.obs, action, mean.T, mean.T, (), None)
        if with_uncertainty:
            spread = (means - mean)[:, : self.obs_dim].square().mean((0, 1)).sqrt()
            pred = pred._replace(uncertainty=spread)
        return Belief(pred.next_obs, ()), pred

    def _mean_layers(self, members: list[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Give the members' layers, of the last one the means alone, transposed.

        A product with few rows is up to 6x faster than one with few columns.
        """
        key = [*members, *(w._version for w in (*self.weights, *self.biases))]
        keep = not torch.is_grad_enabled()
        if keep and self._kept is not None and self._kept[0] == key:
            return self._kept[1:]
        weights, biases = [w[members] for w in self.weights], [b[members] for b in self.biases]
        weights[-1] = weights[-1][..., : self.num_targets].mT.contiguous()
        biases[-1] = biases[-1][..., : self.num_targets].mT.contiguous()
        if keep:
            self._kept = key, weights, biases
        return weights, biases

    def _asked(self) -> list[int]:
        """Name the members whose spread is the uncertainty."""
        members = {"pair": self._elite_list[:2], "samples": list(range(self.num_members))}
        return members.get(self._uncertainty, self._elite_list)

    def _doubt(self, out: Output, generator: torch.Generator | None) -> Tensor:
        """Measure the spread of members' outputs (M, B, ...): (B,); see uncertainty."""
        if self._uncertainty in ("std", "raw_std"):
            unit = self.targets.std if self._uncertainty == "raw_std" else 1.0
            return ((0.5 * out.log_var).exp() * unit).norm(dim=-1).amax(0)
        if self._uncertainty != "samples":
            return out.mean[..., : self.obs_dim].var(0, correction=0).mean(-1).sqrt()
        samples = out.mean
        if generator is not None:
            noise = torch.randn(samples.shape, generator=generator, device=samples.device)
            samples = samples + torch.exp(0.5 * out.log_var) * noise
        return self.targets.invert(samples).std(0, correction=0).mean(-1)

    def candidates(
        self,
        state: Belief,
        action: Tensor,
        num: int,
        *,
        generator: torch.Generator | None,
        num_means: int = 0,
    ) -> tuple[Belief, Prediction]:
        """Sample num successors of each row after num_means without noise: (K * B, ...)."""
        x = self.inputs(torch.cat([state.obs, action], 1))
        out = self._run(x.expand(self.num_elites, *x.shape), self._elite_list)
        mean = in_turn(out.mean, num)  # (K, B, targets)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = noise.mul_(in_turn(torch.exp(0.5 * out.log_var), num)).add_(mean)
        mean = torch.cat([in_turn(out.mean, num_means), mean]) if num_means else mean
        members = [self._elite_list[i % self.num_elites] for i in (*range(num_means), *range(num))]
        obs, action = (t.repeat(len(members), 1) for t in (state.obs, action))
        pred = self._predict(obs, action, mean.flatten(0, 1), out.log_var, members, None)
        return Belief(pred.next_obs, state.members), pred

    def _predict(
        self,
        obs: Tensor,
        action: Tensor,
        mean: Tensor,
        log_var: Tensor,
        members: Sequence[int],
        generator: torch.Generator | None,
    ) -> Prediction:
        """Turn normalised outputs (B, targets) into a prediction in raw units."""
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = mean + torch.exp(0.5 * log_var) * noise
        target = self.targets.invert(mean)
        next_obs = obs + target[:, : self.obs_dim]
        if self.task.project is not None:
            next_obs = self.task.project(next_obs)
        if self.learns_reward:
            reward = target[:, -1]
        else:
            assert self.task.reward is not None
            reward = self.task.reward(obs, action, next_obs)
        if self.ends is not None:
            terminated = self.ends(next_obs, members)
        else:
            assert self.task.terminated is not None
            terminated = self.task.terminated(obs, action, next_obs)
        return Prediction(next_obs, reward, terminated, torch.ones_like(terminated), None)

    def _run(self, x: Tensor, members: list[int]) -> Output:
        """Evaluate the named members on their rows x (G, n, in)."""
        if members == list(range(self.num_members)):
            return self._forward(x, [*self.weights], [*self.biases])
        return self._forward(
            x, [w[members] for w in self.weights], [b[members] for b in self.biases]
        )

    def _forward(self, x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Output:
        """Evaluate batched networks: x (G, n, in), weights (G, in, out), biases (G, 1, out)."""
        x, t = evaluate(x, weights, biases), self.num_targets
        log_var = self.max_log_var - softplus(self.max_log_var - x[..., t : 2 * t])
        log_var = self.min_log_var + softplus(log_var - self.min_log_var)
        return Output(x[..., :t], log_var)

    def load_state_dict(self, *args, **kwargs):
        """Load weights, normalisers and elites; see nn.Module.load_state_dict."""
        found = super().load_state_dict(*args, **kwargs)
        self._elite_list = self.elites.tolist()
        return found
