"""Probabilistic ensemble: Gaussian networks that differ by their weights at the start."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple, final

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from mbrl import moved
from mbrl.dynamics.base import Belief, MarkovDynamics, complete_prediction
from mbrl.dynamics.likelihood import Examples, LikelihoodGradient, bounded
from mbrl.dynamics.termination import TerminationClassifier
from mbrl.errors import BadInput
from mbrl.nn.annealed_descent import AnnealedDescent, StackedDescent
from mbrl.nn.calibration import MOST_ROWS, calibrate
from mbrl.nn.early_stopping import BestSnapshots, batch_size_for, split_holdout
from mbrl.nn.flat import copy
from mbrl.nn.generators import as_generator
from mbrl.nn.mlp import MLP, cycle, evaluate_in_pieces, split_blocks
from mbrl.nn.normalizer import Normalizer, size
from mbrl.nn.products import bfloat16_pays
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

OVERFITTING = 2.0  # growth of a squared error from which weights go back to the best ones
MOST_KEPT = 2  # choices of members whose layers are kept
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
        precision: of the products in a step:
            "fp32": float32;
            "bf16": large products between hidden layers have factors and results rounded to
                bfloat16 and sum in float32; the first and the last layer, variances, fits and
                gradients stay float32. Faster on processors with bfloat16 (AVX512-BF16, AMX,
                ARM's) and GPUs for many rows of wide layers; slower, and as good, on others.
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
        precision: Literal["fp32", "bf16"] = "fp32",
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
        self._rounds = precision == "bf16"

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
        self._kept: dict[tuple[int, ...], tuple[list[Tensor], list[Tensor]]] = {}
        self._kept_version = 0
        self._list_elites()
        self.register_load_state_dict_post_hook(lambda model, _: model._list_elites())

    def _list_elites(self) -> None:
        """Read the elites' numbers, which particles are divided among."""
        self.particle_members = self.elites.tolist()

    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit to all data, starting from the last weights; see Dynamics.fit."""
        generator = as_generator(generator, data.obs.device)
        return self.fit_together([self], [data], [generator])[0]

    @staticmethod
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
        error = snapshots.best
        if steps := min(settings.anneal_updates, descent.updates):
            yield FitStep(descent, examples, steps)
            annealed, latest = self._holdout_error(net, x_held, y_held)
            # the least of many errors on few rows is below what its weights do elsewhere, and the
            # variances of that moment are not fitted yet; so weights go back only from overfitting
            overfits = annealed > OVERFITTING * error
            mse.copy_(torch.where(overfits, mse, latest))
            snapshots.restore(overfits)
            error = torch.where(overfits, error, annealed)
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
            every = -(-len(x) // MOST_ROWS)
            fitted = calibrate(y[::every], *self._evaluate(x[::every], self.particle_members))
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
        x = x.expand(self.num_members, *x.shape)
        layers = [*hidden[::2], last[0]], [*hidden[1::2], last[1]]
        for rows, means in evaluate_in_pieces(x, *layers):
            squares += means.sub_(y[rows].T).square_().sum(2)
        errors = squares / len(y)  # (M, targets), in variances of the targets
        share = self._varies() / self._varies().sum().clamp(min=1)
        return ((errors + NEGLIGIBLE).log() @ share).exp(), errors @ share

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step of each row by its own member; see Model.step."""
        x = torch.cat([state.obs, action], 1)
        uncertainty = None
        if with_uncertainty or not state.members:
            members = self._uncertainty_members() if with_uncertainty else self.particle_members
            target, uncertainty = self._evaluate_all(
                x, members, generator, predicts=not state.members, with_uncertainty=with_uncertainty
            )
        if state.members:
            target = self._evaluate_blocks(x, state.members, generator)
        pred = self._complete(state.obs, action, target, state.members)
        return Belief(pred.next_obs, state.members), pred._replace(uncertainty=uncertainty)

    def _evaluate_blocks(
        self, x: Tensor, members: Sequence[int], generator: torch.Generator | None
    ) -> Tensor:
        """Predict targets (B, targets) for x (B, in), both in raw units, by each block's member."""
        blocks = split_blocks(x, len(members))
        layers = self._layers(members, blocks.shape[1], only_means=generator is None)
        targets = x.new_empty(0)
        for rows, out in evaluate_in_pieces(blocks, *layers, prepare=self.inputs):
            if generator is None:
                target = out
            else:
                target, log_var = self._bounded(out)
                target = _sample(target, self._correct(log_var).mul_(0.5).exp_(), generator)
            target = self._invert(target).mT  # (G, rows, targets)
            if target.shape[1] == blocks.shape[1]:
                targets = target  # of one piece
                continue
            if rows.start == 0:
                targets = x.new_empty(*blocks.shape[:2], self.num_targets)
            targets[:, rows] = target
        return targets.flatten(0, 1)[: len(x)]

    def _evaluate_all(
        self,
        x: Tensor,
        members: Sequence[int],
        generator: torch.Generator | None,
        *,
        predicts: bool,
        with_uncertainty: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Evaluate members on the same rows x (B, in), in raw units.

        Returns:
            The targets (B, targets) that their mixture predicts, in raw units, or x if none are
            asked for; and the uncertainty (B,) if it is asked for.
        """
        samples = generator is not None
        only_means = not (predicts and samples) and not (
            with_uncertainty and self._uncertainty_needs_variances(samples)
        )
        targets, spreads = [], []
        layers = self._layers(members, len(x), only_means=only_means)
        everyone = x.expand(len(members), *x.shape)
        for _, out in evaluate_in_pieces(everyone, *layers, prepare=self.inputs):
            means, log_var = (out, out) if only_means else self._bounded(out)
            mean = means.mean(0)
            if with_uncertainty:
                spreads.append(self._spread(means, mean, log_var, generator))
            if predicts and generator is not None:
                variance = self._correct(log_var).exp_().mean(0)
                variance = variance + (means - mean).square_().mean(0)
                mean = _sample(mean, variance.sqrt_(), generator)
            if predicts:
                targets.append(self._invert(mean).T)
        return _join(targets, 0) if predicts else x, _join(spreads, 0) if with_uncertainty else None

    def _layers(
        self, members: Sequence[int], rows: int, *, only_means: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the layers that members evaluate a number of rows with; see evaluate_in_pieces.

        Without gradients those of two choices are kept until a weight changes.

        Args:
            members: their numbers.
            rows: of each member.
            only_means: whether the last layer is without variances.
        """
        version = self.networks.version
        keep = not torch.is_grad_enabled()
        rounds = keep and self._rounds and bfloat16_pays(rows, *self._widths[1:3])
        key = (*members, only_means, rounds)
        if keep and self._kept_version == version and key in self._kept:
            return self._kept[key]
        weights, biases = (list(layers) for layers in self.networks.layers(members))
        for layers in (weights, biases):
            last = layers[-1][..., : self.num_targets] if only_means else layers[-1]
            layers[-1] = last.mT.contiguous()
        if rounds:
            weights[1:-1], biases[1:-1] = (
                [x.to(torch.bfloat16) for x in layers[1:-1]] for layers in (weights, biases)
            )
        if keep:
            if self._kept_version != version or len(self._kept) == MOST_KEPT:
                self._kept = {}
            self._kept_version, self._kept[key] = version, (weights, biases)
        return weights, biases

    def _uncertainty_members(self) -> Sequence[int]:
        """Return the numbers of the members that the uncertainty is computed from."""
        if self._uncertainty == "samples":
            return range(self.num_members)
        return self.particle_members[:2] if self._uncertainty == "pair" else self.particle_members

    def _uncertainty_needs_variances(self, samples: bool) -> bool:
        """Return whether the uncertainty depends on variances, of samples or of means."""
        return self._uncertainty in ("std", "raw_std") or (
            self._uncertainty == "samples" and samples
        )

    def _spread(
        self, means: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Compute the uncertainty (B,) of members' outputs (M, targets, B); see the class.

        Args:
            means: (M, targets, B).
            mean: their mean (targets, B).
            log_var: (M, targets, B).
            generator: source of the noise of samples; None for none.
        """
        if self._uncertainty in ("std", "raw_std"):
            unit = self.targets.std if self._uncertainty == "raw_std" else 1.0
            return ((0.5 * log_var).exp() * (self._varies() * unit)[:, None]).norm(dim=1).amax(0)
        if self._uncertainty != "samples":
            return (means - mean)[:, : self.obs_dim].square().mean((0, 1)).sqrt()
        samples = means
        if generator is not None:
            samples = _sample(samples, (0.5 * log_var).exp(), generator)
        return self._invert(samples).std(0, correction=0).mean(0)

    def _bounded(self, out: Tensor) -> Output:
        """Return the output of networks (M, 2 * targets, B) as means and log variances."""
        mean, raw = out.chunk(2, 1)
        return Output(mean, bounded(raw, self.max_log_var[:, None], self.min_log_var[:, None]))

    def _correct(self, log_var: Tensor) -> Tensor:
        """Return log variances (M, targets, B) corrected."""
        return torch.addcmul(self.log_var_shift[:, None], log_var, self.log_var_slope)

    def _invert(self, target: Tensor) -> Tensor:
        """Return normalized targets (..., targets, B) in raw units."""
        return torch.addcmul(self.targets.mean[:, None], target, self.targets.std[:, None])

    def candidates(
        self, state: Belief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Belief, Prediction]:
        """Sample num successors of each row for action (B, act_dim); see OffersCandidates."""
        return self.candidates_with_means(state, action, num, 0, generator=generator)

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
        pred = self._complete(obs, action, self.targets.invert(mean.flatten(0, 1)), members)
        return Belief(pred.next_obs, state.members), pred

    def _complete(
        self, obs: Tensor, action: Tensor, target: Tensor, members: Sequence[int]
    ) -> Prediction:
        """Return the prediction for targets (B, targets) in raw units."""
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
        out = self._evaluate(x, members)
        return Output(out.mean, self._correct(out.log_var.mT).mT)

    def _evaluate(self, x: Tensor, members: Sequence[int] | None = None) -> Output:
        """Evaluate members, all by default, on rows x (G, n, in), or on the same rows (n, in)."""
        out = self._bounded(self.networks(x, members).mT)
        return Output(out.mean.mT, out.log_var.mT)


def _join(pieces: list[Tensor], dim: int) -> Tensor:
    """Return pieces one behind the other, not copied where there is one."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)


def _sample(mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """Sample normal numbers of means and standard deviations of one shape."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return torch.addcmul(mean, noise, std)
