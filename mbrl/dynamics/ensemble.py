"""Probabilistic ensemble: Gaussian networks that differ by their weights at the start."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple, final

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn.functional import silu

from mbrl import moved
from mbrl.dynamics.base import Belief, MarkovDynamics, complete_prediction
from mbrl.dynamics.likelihood import Examples, LikelihoodGradient, bounded
from mbrl.dynamics.termination import TerminationClassifier
from mbrl.errors import BadInput
from mbrl.nn.annealed_descent import AnnealedDescent, StackedDescent
from mbrl.nn.calibration import calibrate
from mbrl.nn.early_stopping import BestSnapshots, batch_size_for, split_holdout
from mbrl.nn.flat import copy
from mbrl.nn.generators import as_generator
from mbrl.nn.mlp import MLP, cycle, evaluate_transposed, rows_at_once, split_blocks
from mbrl.nn.normalizer import Normalizer, size
from mbrl.nn.products import FastProducts
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import (
    AtMost,
    Count,
    CountOrZero,
    Depth,
    NonNegative,
    NumMembers,
    Positive,
    Width,
    checked,
)

silu_in_place = partial(silu, inplace=True)
OVERFITTING = 2.0  # growth of a squared error from which weights go back to the best ones
NEGLIGIBLE = 1e-6  # error of a target, in its variances: smaller ones are all alike


class Output(NamedTuple):
    """Output of members on their rows, in normalized units."""

    mean: Tensor  # (M, n, targets) of [obs change | reward if learned]
    log_var: Tensor  # (M, n, targets)


class FitStep(NamedTuple):
    """What a fit waits for: an epoch of its descent, or the annealing."""

    descent: AnnealedDescent
    examples: Examples
    anneal: int | None  # steps; None for an epoch


@final
@checked
@dataclass(frozen=True)
class EnsembleTraining:
    """Training of an ensemble by Adam with early stopping.

    Args:
        learning_rate: of Adam.
        weight_decay: of the last layer; a quarter of it on the first layer, linear between.
        batch_size: largest batch; smaller ones are used while data are few.
        holdout: share of the rows held out.
        patience: epochs without a gain of 1% after which a fit stops.
        min_updates: gradient steps of a fit at least, before the annealing.
        max_updates: gradient steps of a fit at most, before the annealing.
        anneal_updates: steps of the annealing, in which the learning rate falls to zero; at most
            as many as before them.
        bootstrap: whether each member is trained on its own draw of the rows with replacement, as
            in PETS and MBPO, instead of on all. It then lacks a third of them: on few rows without
            noise a member's squared error is three times as large, and members differ by more than
            their mean errs, so that intervals of their samples are too wide or have no tails.
    """

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-4
    batch_size: Count = 256
    holdout: Annotated[float, Interval(gt=0, le=0.5)] = 0.2
    patience: Count = 5
    min_updates: Count = 500
    max_updates: Count = 10_000
    anneal_updates: CountOrZero = 250
    bootstrap: bool = False


@final
class GaussianEnsemble(MarkovDynamics):
    """Gaussian ensemble of MLPs for the change of obs and the reward.

    Chua et al. 2018 (PETS, TS-infinity propagation); Janner et al. 2019 (MBPO, elites, early stop).
    Members differ by their initial weights and by the order of the rows, as in deep ensembles
    (Lakshminarayanan et al. 2017), and by a bootstrap if training.bootstrap says so. Predicted
    variances are corrected on held-out rows, so that intervals of the elites' mixture hold the
    share that they should.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment.
        generator: source of the initial weights.
        num_members: networks trained.
        num_elites: networks used for predictions: those with the least holdout error.
        hidden: width of a hidden layer.
        num_layers: number of hidden layers.
        training: how the networks are trained.
        reward: where the reward comes from:
            "learned": one more output of the networks;
            "known": the task's function.
        termination: where the end of an episode comes from:
            "learned": a classifier of the predicted observation;
            "known": the task's function;
            "auto": known where the task has it, learned elsewhere.
        uncertainty: what counts as uncertainty:
            "elites": standard deviation of the elites' mean changes of obs, normalized;
            "pair": the same of the first two elites, which costs less; without particles the
                prediction is then their mean as well;
            "samples": standard deviation over all members' sampled changes and rewards, in raw
                units, as in COPlanner's code;
            "std": largest norm of an elite's standard deviation, normalized, as in MOPO;
            "raw_std": the same in raw units.
            Deviations are the networks' own, before their correction: they grow outside the data.
        device: where the networks are.

    Raises:
        BadInput: for a value out of range, or a reward or termination that the task does not know.
    """

    elites: Tensor  # (num_elites,) int64
    log_var_shift: Tensor  # (targets,) correction of the variances; see mbrl.nn.calibration
    log_var_slope: Tensor  # ()
    inputs: Normalizer
    targets: Normalizer

    @checked
    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        generator: torch.Generator | int,
        num_members: NumMembers = 7,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 5,
        hidden: Width = 200,
        num_layers: Depth = 4,
        training: EnsembleTraining = EnsembleTraining(),
        reward: Literal["learned", "known"] = "learned",
        termination: Literal["auto", "learned", "known"] = "auto",
        uncertainty: Literal["elites", "pair", "samples", "std", "raw_std"] = "elites",
        device: torch.device | str = "cpu",
    ):
        """Build the networks and sample their weights."""
        generator = as_generator(generator, device)
        super().__init__()
        for name, choice, known in (
            ("reward", reward, task.reward),
            ("termination", termination, task.terminated),
        ):
            if choice == "known" and known is None:
                raise BadInput(
                    f"{name}=known: should be learned, because the task has no function for it"
                )
        self.obs_dim = obs_dim
        self.num_members = num_members
        self.num_elites = num_elites
        self.task = task
        self.learns_reward = reward == "learned"
        learns_end = termination == "learned" or (termination == "auto" and task.terminated is None)
        self._uncertainty = uncertainty
        self._training = training

        self.num_targets = obs_dim + self.learns_reward
        self.act_dim = action.dim
        inputs = obs_dim + action.dim
        widths = [inputs, *[hidden] * num_layers, 2 * self.num_targets]
        self.networks = MLP(
            widths, num_members, generator=generator, initialization="truncated_normal"
        )
        moved.state_keys(self, {"weights.": "networks.weights.", "biases.": "networks.biases."})
        self.max_log_var = nn.Parameter(torch.full((self.num_targets,), 0.5))
        self.min_log_var = nn.Parameter(torch.full((self.num_targets,), -10.0))
        self.inputs = Normalizer(inputs)
        self.targets = Normalizer(self.num_targets)
        self.register_buffer("elites", torch.arange(num_elites))
        self.register_buffer("log_var_shift", torch.zeros(self.num_targets))
        self.register_buffer("log_var_slope", torch.ones(()))
        moved.new_state(self, "log_var_shift", "log_var_slope")
        self.ends = (
            TerminationClassifier(obs_dim, generator=generator, num_members=num_members)
            if learns_end
            else None
        )
        self.to(device)

        decay = torch.linspace(0.25, 1.0, len(widths) - 1) * training.weight_decay
        self._widths, self._decay = widths, decay.tolist()
        self._mean_cache: tuple[list[int], list[Tensor], list[Tensor]] | None = None
        self._list_elites()
        self.register_load_state_dict_post_hook(lambda model, _: model._list_elites())

    def _list_elites(self) -> None:
        """Read the elites' numbers, which particles are divided among."""
        self.particle_members = self.elites.tolist()

    @FastProducts()
    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit to all data, starting from the last weights; see Dynamics.fit."""
        generator = as_generator(generator, data.obs.device)
        return self.fit_together([self], [data], [generator])[0]

    @staticmethod
    @FastProducts()
    def fit_together(
        models: Sequence[GaussianEnsemble],
        data: Sequence[Transitions],
        generators: Sequence[torch.Generator],
    ) -> list[dict[str, float]]:
        """Fit ensembles that differ in their seeds as one batch; see FitsTogether.

        Each stops when it would alone, and the others go on; annealing begins when all have.
        """
        if any(not models[0]._is_like(model) for model in models):
            raise BadInput("models: ensembles that are fitted as one batch should be of one shape")
        fits = [x._fit(y, g) for x, y, g in zip(models, data, generators, strict=True)]
        waiting = {seed: next(fit) for seed, fit in enumerate(fits)}
        metrics: list[dict[str, float]] = [{} for _ in models]
        together: list[int] = []
        descent: AnnealedDescent | StackedDescent = waiting[0].descent
        while waiting:
            # epochs first; then annealing of the same length
            kinds = {i: (s.anneal or 0, len(s.examples.inputs)) for i, s in waiting.items()}
            chosen = [i for i, kind in kinds.items() if kind == min(kinds.values())]
            if chosen != together:
                together, steps = chosen, [waiting[seed] for seed in chosen]
                descent = steps[0].descent
                if len(steps) > 1:
                    gradient = models[0]._gradient([x.examples for x in steps], descent.batch_size)
                    descent = StackedDescent([step.descent for step in steps], gradient)
            first = waiting[chosen[0]]
            if first.anneal is None:
                descent.run_epoch(models[0]._training.max_updates)
            else:
                descent.anneal(first.anneal)
            for seed in chosen:
                try:
                    waiting[seed] = next(fits[seed])
                except StopIteration as end:
                    metrics[seed] = end.value
                    del waiting[seed]
        return metrics

    def _is_like(self, other: GaussianEnsemble) -> bool:
        """Return whether another ensemble has the same form and training."""
        shapes = [[p.shape for p in model.parameters()] for model in (self, other)]
        return shapes[0] == shapes[1] and self._training == other._training

    def _fit(
        self, data: Transitions, generator: torch.Generator
    ) -> Generator[FitStep, None, dict[str, float]]:
        """Fit to all data; yield each part of the descent, which the caller runs."""
        settings = self._training
        x, y = self._examples(data)
        self._fit_units(data, x, y)
        x, y = self.inputs(x), self.targets(y)
        train, held = (rows.to(x.device) for rows in split_holdout(x.shape[0], settings.holdout))
        members_rows = train.expand(self.num_members, -1)  # (M, n)
        if settings.bootstrap:
            draws = torch.randint(
                len(train), members_rows.shape, generator=generator, device=x.device
            )
            members_rows = train[draws]

        x_held, y_held = x[held], y[held]
        examples = Examples(x, y, self._varies())
        batch_size = batch_size_for(len(train), settings.batch_size)
        gradient = self._gradient([examples], batch_size)
        parameters = gradient.of_fit(gradient.parameters, 0)
        copy(self._layers_and_bounds(), parameters)
        *net, _, _ = parameters
        descent = AnnealedDescent(
            gradient,
            members_rows,
            batch_size=batch_size,
            learning_rate=settings.learning_rate,
            generator=generator,
        )
        error, mse = self._holdout_error(net, x_held, y_held)
        snapshots = BestSnapshots([*net, mse])
        snapshots.offer(error)
        idle = 0
        while descent.updates < settings.max_updates and (
            idle < settings.patience or descent.updates < settings.min_updates
        ):
            yield FitStep(descent, examples, None)
            error, latest = self._holdout_error(net, x_held, y_held)
            mse.copy_(latest)
            idle = 0 if descent.check(snapshots.offer(error)) else idle + 1
        snapshots.restore()
        if steps := min(settings.anneal_updates, descent.updates):
            yield FitStep(descent, examples, steps)
        error, latest = self._holdout_error(net, x_held, y_held)
        # the least of many errors on few rows is below what its weights do elsewhere, and the
        # variances of that moment are not fitted yet; so the weights go back only from overfitting
        overfits = error > OVERFITTING * snapshots.best
        mse.copy_(torch.where(overfits, mse, latest))
        snapshots.restore(overfits)
        error = torch.where(overfits, snapshots.best, error)
        copy(parameters, self._layers_and_bounds())
        self.elites.copy_(error.argsort()[: self.num_elites].sort().values)
        self._list_elites()
        self._calibrate(x_held, y_held, held_out=len(held) < len(x))
        metrics = {
            "model/holdout_mse": mse[self.elites].mean().item(),
            "model/updates": float(descent.updates),
        }
        return metrics | ({} if self.ends is None else self.ends.fit(data, generator=generator))

    def _gradient(self, examples: Sequence[Examples], batch_size: int) -> LikelihoodGradient:
        """Return the gradient of ensembles like this one; its parameters are not set yet."""
        return LikelihoodGradient(
            examples,
            num_members=self.num_members,
            widths=self._widths,
            decay=self._decay,
            num_rows=batch_size,
        )

    def _layers_and_bounds(self) -> list[Tensor]:
        """Return the parameters in the order and the shapes of LikelihoodGradient.of_fit."""
        bounds = [self.max_log_var, self.min_log_var]
        return [x.detach() for x in (*self.networks.transposed(), *bounds)]

    @torch.no_grad()
    def _calibrate(self, x: Tensor, y: Tensor, *, held_out: bool) -> None:
        """Fit the correction of the variances on held-out x (n, in), y (n, targets), normalized.

        Args:
            x: inputs (n, in).
            y: targets (n, targets).
            held_out: whether the rows were held out; with too few for that nothing is corrected.
        """
        self.log_var_shift.zero_()
        self.log_var_slope.fill_(1.0)
        if held_out:
            fitted = calibrate(y, *self._evaluate(x, self.particle_members))
            self.log_var_shift.copy_(fitted.shift)
            self.log_var_slope.copy_(fitted.slope)

    def _examples(self, data: Transitions) -> tuple[Tensor, Tensor]:
        """Return inputs (B, obs_dim + act_dim) and targets (B, targets), in raw units."""
        change = data.next_obs - data.obs
        if self.learns_reward:
            change = torch.cat([change, data.reward[:, None]], 1)
        return torch.cat([data.obs, data.action], 1), change

    def _fit_units(self, data: Transitions, x: Tensor, y: Tensor) -> None:
        """Compute the units of inputs x (B, in) and targets y (B, targets) of data (B, ...).

        The outputs for constant targets are set to 0, and stay there: no loss counts them.
        """
        sizes = size(data.obs)
        if self.learns_reward:
            sizes = torch.cat([sizes, size(data.reward[:, None])])
        self.inputs.fit(x)
        self.targets.fit(y, of=sizes)
        weights, biases = self.networks.layers()
        with torch.no_grad():
            for last in (weights[-1], biases[-1]):
                last[..., : self.num_targets].mul_(self._varies())

    def _varies(self) -> Tensor:
        """Return 1 for the targets that vary, and 0 for those that are constant (targets,)."""
        return (self.targets.std > 0).to(self.targets.std.dtype)

    @torch.no_grad()
    def _holdout_error(self, net: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute each member's error on the holdout rows x (n, in), y (n, targets), normalized.

        Args:
            net: weights and biases of the layers in turn, the last one's transposed.
            x: inputs (n, in).
            y: targets (n, targets).

        Returns:
            The geometric mean of the targets' squared errors (M,): in an arithmetic mean, one
            target that cannot be predicted (the reward at rare terminations) would decide alone
            when a fit stops. And the arithmetic mean (M,), as a metric.
        """
        *hidden, weight, bias = net
        last = [x[:, : self.num_targets] for x in (weight, bias)]
        squares = x.new_zeros(self.num_members, self.num_targets)
        chunk = rows_at_once(self.num_members, weight.shape[2])
        for rows, targets in zip(x.split(chunk), y.split(chunk), strict=True):
            rows = rows.expand(self.num_members, *rows.shape)
            means = evaluate_transposed(
                rows, [*hidden[::2], last[0]], [*hidden[1::2], last[1]], activation=silu_in_place
            )
            squares += means.sub_(targets.T).square_().sum(2)
        errors = squares / len(x)  # (M, targets), in variances of the targets
        share = self._varies() / self._varies().sum().clamp(min=1)
        return ((errors + NEGLIGIBLE).log() @ share).exp(), errors @ share

    @FastProducts()
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
            outputs = self._evaluate(
                x, self._uncertainty_members() if with_uncertainty else self.particle_members
            )
            if with_uncertainty:
                uncertainty = self._spread(outputs, generator)
            outputs = self._correct(outputs)
        if state.members:
            out = self._run(split_blocks(x, len(state.members)), state.members)
            mean, log_var = (t.flatten(0, 1)[: len(x)] for t in (out.mean, out.log_var))
        else:
            mean = outputs.mean.mean(0)
            variance = outputs.log_var.exp().mean(0) + outputs.mean.var(0, correction=0)
            log_var = variance.log()
        pred = self._predict(state.obs, action, mean, log_var, state.members, generator)
        return Belief(pred.next_obs, state.members), pred._replace(uncertainty=uncertainty)

    def _mean_step(
        self, state: Belief, action: Tensor, with_uncertainty: bool
    ) -> tuple[Belief, Prediction]:
        """Predict by the elites' means alone: nothing is sampled, so no variance is needed."""
        x = self.inputs(torch.cat([state.obs, action], 1))
        members = self._uncertainty_members() if with_uncertainty else self.particle_members
        weights, biases = self._mean_layers(members)
        x = x.expand(len(members), *x.shape)
        in_place = partial(silu, inplace=not torch.is_grad_enabled())
        means = evaluate_transposed(x, weights, biases, activation=in_place)  # (M, targets, B)
        mean = means.mean(0)
        pred = self._predict(state.obs, action, mean.T, mean.T, (), None)
        if with_uncertainty:
            spread = (means - mean)[:, : self.obs_dim].square().mean((0, 1)).sqrt()
            pred = pred._replace(uncertainty=spread)
        return Belief(pred.next_obs, ()), pred

    def _mean_layers(self, members: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the members' layers, the last one without variances and transposed.

        Without gradients they are kept until a weight changes.
        """
        parameters = (*self.networks.weights, *self.networks.biases)
        key = [*members, *(parameter._version for parameter in parameters)]
        keep = not torch.is_grad_enabled()
        if keep and self._mean_cache is not None and self._mean_cache[0] == key:
            return self._mean_cache[1:]
        chosen = self.networks.index(members)
        weights, biases = ([t[chosen] for t in tensors] for tensors in self.networks.layers())
        weights[-1] = weights[-1][..., : self.num_targets].mT.contiguous()
        biases[-1] = biases[-1][..., : self.num_targets].mT.contiguous()
        if keep:
            self._mean_cache = key, weights, biases
        return weights, biases

    def _uncertainty_members(self) -> Sequence[int]:
        """Return the numbers of the members that the uncertainty is computed from."""
        if self._uncertainty == "samples":
            return range(self.num_members)
        return self.particle_members[:2] if self._uncertainty == "pair" else self.particle_members

    def _spread(self, out: Output, generator: torch.Generator | None) -> Tensor:
        """Compute the uncertainty (B,) from members' outputs (M, B, ...); see the class."""
        if self._uncertainty in ("std", "raw_std"):
            unit = self.targets.std if self._uncertainty == "raw_std" else 1.0
            return ((0.5 * out.log_var).exp() * self._varies() * unit).norm(dim=-1).amax(0)
        if self._uncertainty != "samples":
            return out.mean[..., : self.obs_dim].var(0, correction=0).mean(-1).sqrt()
        samples = out.mean
        if generator is not None:
            noise = torch.randn(samples.shape, generator=generator, device=samples.device)
            samples = samples + torch.exp(0.5 * out.log_var) * noise
        return self.targets.invert(samples).std(0, correction=0).mean(-1)

    def candidates(
        self, state: Belief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Belief, Prediction]:
        """Sample num successors of each row for action (B, act_dim); see OffersCandidates."""
        return self.candidates_with_means(state, action, num, 0, generator=generator)

    @FastProducts()
    def candidates_with_means(
        self,
        state: Belief,
        action: Tensor,
        num: int,
        num_means: int,
        *,
        generator: torch.Generator | None,
    ) -> tuple[Belief, Prediction]:
        """Return num_means successors of each row without noise, then num sampled ones.

        The elites predict them in turn.

        Args:
            state: belief of B rows.
            action: (B, act_dim).
            num: sampled successors of each row.
            num_means: successors without noise.
            generator: source of the noise; without one none has any.

        Returns:
            The belief and the prediction of K * B rows, K = num_means + num.
        """
        x = self.inputs(torch.cat([state.obs, action], 1))
        out = self._run(x, self.particle_members)
        mean = cycle(out.mean, num)  # (K, B, targets)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = noise.mul_(cycle(torch.exp(0.5 * out.log_var), num)).add_(mean)
        mean = torch.cat([cycle(out.mean, num_means), mean]) if num_means else mean
        turns = (*range(num_means), *range(num))
        members = [self.particle_members[i % self.num_elites] for i in turns]
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
        """Return the prediction in raw units for normalized outputs mean, log_var (B, targets)."""
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = mean + torch.exp(0.5 * log_var) * noise
        target = self.targets.invert(mean)
        return complete_prediction(
            self.task,
            obs,
            action,
            obs + target[:, : self.obs_dim],
            reward=target[:, -1] if self.learns_reward else None,
            ends=None if self.ends is None else partial(self.ends, members=members),
        )

    def _run(self, x: Tensor, members: Sequence[int] | None = None) -> Output:
        """Evaluate members as _evaluate does, with their variances corrected."""
        return self._correct(self._evaluate(x, members))

    def _correct(self, out: Output) -> Output:
        """Return outputs of members (M, n, ...) with corrected variances."""
        shift, slope = self.log_var_shift, self.log_var_slope
        return Output(out.mean, torch.addcmul(shift, out.log_var, slope))

    def _evaluate(self, x: Tensor, members: Sequence[int] | None = None) -> Output:
        """Evaluate members, all by default, on rows x (G, n, in), or on the same rows (n, in)."""
        mean, raw = self.networks(x, members).chunk(2, -1)
        return Output(mean, bounded(raw, self.max_log_var, self.min_log_var))
