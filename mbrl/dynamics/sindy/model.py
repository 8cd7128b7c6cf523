"""Sparse equations of motion (SINDy) as a dynamics model.

The structured variant regresses velocities only: they move the positions and turn the angles,
exactly on the circle.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, final

import torch
from annotated_types import Ge
from torch import Tensor

from mbrl.dynamics.base import Belief, MarkovDynamics
from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.data import cut_at_gaps, hold_out, read_limits, usable
from mbrl.dynamics.sindy.fit import affordable, combine, leverage_matrix
from mbrl.dynamics.sindy.fitting import Sizes, fit_any, fit_densely
from mbrl.dynamics.sindy.forms import (
    Candidate,
    choose,
    fit_form,
    helpful_bounds,
    possible_forms,
)
from mbrl.dynamics.sindy.library import Library, build_library, reduce_circles
from mbrl.dynamics.sindy.outcome import Outcome
from mbrl.dynamics.sindy.regression import Rows
from mbrl.dynamics.sindy.settings import (
    LibrarySettings,
    RegressionSettings,
    RewardSettings,
    ValiditySettings,
)
from mbrl.dynamics.sindy.step import Form, SparseStep, step_of
from mbrl.dynamics.sindy.structure import find_circles, given_circles
from mbrl.errors import BadInput
from mbrl.imagination.open_loop import open_loop_errors
from mbrl.nn.generators import as_generator
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import AtMost, NumMembers, checked

_log = logging.getLogger(__name__)
_SHOWN = 12  # terms in a message


@final
class SINDy(MarkovDynamics):
    """Ensemble of sparse equations for the next observation.

    Brunton et al. 2016 (SINDy), Fasel et al. 2022 (ensembles), Zolman et al. 2024 (SINDy-RL: the
    loop, the safeguards).

    Where the data cannot tell two terms apart (constant columns, dependent ones, fewer rows than
    terms), the simpler one is used; a warning names the others. With fewer than 5 rows per term,
    members are fitted to all rows, because bootstraps would not determine them, and differ by their
    library only. A termination that the task does not know is never predicted.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment; its angle_pairs and positions give the structure.
        library: the candidate terms; also a Library of terms over [obs, action].
        regression: how coefficients are fitted.
        structured: whether only velocities are regressed; positions are their integrals, and angles
            are turned by them. None decides by the held-out error.
        num_members: equations fitted for each target where a threshold is given.
        num_elites: equations kept for each target, whose spread is the uncertainty: with a
            threshold those with the least error on all rows.
        aggregate: coefficients of a prediction:
            "refit": least squares on all rows, for the terms that the members share;
            "median" or "mean": of the members' coefficients;
            "member": each particle uses one member, the refit where there are no particles.
        uncertainty: what counts as uncertainty:
            "spread": standard deviation of the elites' predictions, in sizes of a change;
            "leverage": distance from the data in the space of the library's terms.
        reward: where the reward comes from:
            "known": the task's function;
            "learned": a sparse polynomial;
            "auto": known where the task has it, learned elsewhere.
        reward_polynomial: that polynomial.
        validity: where predictions are valid, and when the model is stable.
        compile: whether the equations are compiled to C, where a compiler is found.
        device: where the coefficients are.

    Attributes:
        stable: whether the last fit was stable in rollouts on held-out data.
        worse_than_no_change: whether its error in these was larger than that of no change.

    Raises:
        BadInput: for a value out of range, a structure or reward that the task does not know, or a
            name that is no observation's.
    """

    scale: Tensor  # (obs_dim,) size of a change
    whiten: Tensor  # (F, F) of the leverage
    stable: Tensor  # () bool
    worse_than_no_change: Tensor  # () bool

    @checked
    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        library: LibrarySettings | Library = LibrarySettings(),
        regression: RegressionSettings = RegressionSettings(),
        structured: bool | None = None,
        num_members: NumMembers = 20,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 10,
        aggregate: Literal["refit", "median", "mean", "member"] = "refit",
        uncertainty: Literal["spread", "leverage"] = "spread",
        reward: Literal["auto", "known", "learned"] = "auto",
        reward_polynomial: RewardSettings = RewardSettings(),
        validity: ValiditySettings = ValiditySettings(),
        compile: bool = False,
        device: torch.device | str = "cpu",
    ):
        """Build the equations; all coefficients are zero."""
        super().__init__()
        if structured and not (task.angle_pairs or task.positions):
            raise BadInput("structured=True: should be False: the task has no angles or positions")
        threshold, target = regression.threshold, regression.target
        if threshold is not None and target == "rate":
            raise BadInput("regression.threshold: should be None with target=rate")
        self.obs_dim, self.act_dim, self.task = obs_dim, action.dim, task
        names = list(task.obs_names or [f"x{i}" for i in range(obs_dim)])
        acts = ["u"] if action.dim == 1 else [f"u{i}" for i in range(action.dim)]
        self.variable_names = [*names, *acts, *(f"{name}'" for name in names)]
        if isinstance(library, LibrarySettings):
            library = build_library(library, obs_dim, action.dim)
            library = reduce_circles(library, task.angle_pairs)
        self.steps = SparseStep(
            library,
            obs_dim,
            action.dim,
            num_elites,
            delta=target != "next",
            positions=task.positions,
            compile=compile,
        )
        self.steps.set_pairs(task.angle_pairs)
        self.steps.form.copy_(torch.tensor([False, bool(structured)]))
        self.outcome = Outcome(obs_dim, action.dim, task, reward, reward_polynomial.degree)
        self.aggregate, self._uncertainty = aggregate, uncertainty
        self._structured = structured
        self._regression, self._reward_polynomial = regression, reward_polynomial
        self._validity = validity
        self._sizes = Sizes(num_members, num_elites)
        self._limits = read_limits(regression.limits or {}, names, "regression.limits")
        self._valid_within = read_limits(validity.within or {}, names, "validity.within")
        self._warnings: set[str] = set()
        double: dict[str, Any] = {"dtype": torch.float64}
        self.register_buffer("whiten", torch.zeros(len(library), len(library), **double))
        self.register_buffer("scale", torch.ones(obs_dim, **double))
        self.register_buffer("stable", torch.tensor(True))
        self.register_buffer("worse_than_no_change", torch.tensor(False))
        if aggregate == "member":
            self.particle_members = range(num_elites)
        self.to(device)
        self.rebuild()
        self.register_load_state_dict_post_hook(lambda model, _: model.rebuild())

    # ---- fitting ---------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit to four fifths of the blocks, measure the rest, then fit to all data.

        See Dynamics.fit.

        Raises:
            BadInput: if there are too few transitions.
            NumericalFault: if an observation, action or reward is not finite.
        """
        generator = as_generator(generator, data.obs.device)
        data = usable(data, self._limits, torch.float64)
        rows, least = data.obs.shape[0], self.obs_dim + self.act_dim + 2
        if rows < least:
            raise BadInput(
                f"data: {rows} usable transitions, but {self.obs_dim + self.act_dim} variables "
                f"need at least {least}; collect more before the first fit (learning_starts)"
            )
        self.scale.copy_(_scale(data.next_obs - data.obs))
        state = generator.get_state()
        blocks, train = hold_out(data, self._validity.horizon)
        held = train.logical_not()
        if int(train.sum()) < len(self.steps.layout.library):  # too few to hold any out
            train, held = torch.ones_like(train), torch.ones_like(held)
        keep = self._find_structure(data, train, held)
        part = cut_at_gaps(data.select(train))
        chosen = self._choose(part, keep[train], data, held, blocks, generator)
        self._store(chosen)
        metrics = self._measure(data, held, blocks)
        generator.set_state(state)  # the same bags whether or not rows are held out
        final = self._fit_form(data, keep, chosen.form, chosen, generator)
        self._store(final)
        left_out = self._names_of(self.steps.layout.library, final.first.left_out)
        if final.motion is not None:
            left_out += self._names_of(self.steps.motion, final.motion.left_out)
        left_out += self._fit_reward(data, generator)
        self.outcome.fit_bounds(data, self._validity.margin, self._valid_within)
        features = self.steps.layout.library.evaluate([*data.obs.T, *data.action.T])
        self.whiten.copy_(leverage_matrix(features.T @ features, rows))
        self.rebuild()
        if left_out:
            names = list(dict.fromkeys(left_out))
            shown = ", ".join(names[:_SHOWN])
            shown += f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            self._warn(f"left out, constant or dependent on simpler terms in the data: {shown}")
        if self.task.terminated is None and data.terminated.any():
            self._warn(
                "episodes terminate, but the equations predict no end, so plans do not avoid it; "
                "state it in Task.terminated, or choose GaussianEnsemble, which learns it"
            )
        self._set_flags(metrics, rows)
        used = int((self.system().coefficients != 0).sum())
        return {**metrics, "model/terms": float(used)}

    def _find_structure(self, data: Transitions, train: Tensor, held: Tensor) -> Tensor:
        """Find circles and bounds; return the rows (B, n) that each equation is fitted to."""
        pairs = self.task.angle_pairs
        circles = given_circles(pairs, data) if pairs else find_circles(data)
        self.steps.set_pairs([(c.cos, c.sin) for c in circles])
        least, most, keep = helpful_bounds(data, train, held, self.steps.lay_out(Form()))
        self.outcome.fit_structure(circles, least, most)
        self.rebuild()
        return keep

    def _choose(
        self,
        train: Transitions,
        keep: Tensor,
        data: Transitions,
        held: Tensor,
        blocks: Tensor,
        generator: torch.Generator,
    ) -> Candidate:
        """Fit the possible forms and return the best.

        Args:
            train: transitions (N, ...) to fit to.
            keep: rows (N, n) of them that each equation is fitted to.
            data: all transitions (B, ...).
            held: rows (B,) bool that decide.
            blocks: the same as blocks (K, H) of consecutive rows.
            generator: source of the members.
        """
        has_structure = bool(self.steps.pairs() or self.task.positions)
        forms = possible_forms(self._regression, self._structured, has_structure)
        rest = data.select(held)

        def move(system: System, obs: Tensor, action: Tensor) -> Tensor:
            return self.outcome.project(step_of(system, obs, action))

        def error(system: System) -> Tensor:
            next_obs = move(system, rest.obs, rest.action)
            return ((next_obs - rest.next_obs) / self.scale).square().mean(1)

        def drift(system: System) -> Tensor:
            obs, total = data.obs[blocks[:, 0]], torch.zeros(len(blocks)).to(data.obs)
            for rows in blocks.T:
                obs = move(system, obs, data.action[rows])
                total = total + ((obs - data.next_obs[rows]) / self.scale).square().mean(1)
            return total

        return choose(
            forms,
            lambda form: self._fit_form(train, keep, form, None, generator),
            error,
            drift,
            lambda form: fit_densely(train, self.steps.lay_out(form), keep),
        )

    def _fit_form(
        self,
        data: Transitions,
        keep: Tensor,
        form: Form,
        before: Candidate | None,
        generator: torch.Generator,
    ) -> Candidate:
        """Fit a form to rows; see forms.fit_form."""
        settings, sizes = self._regression, self._sizes
        return fit_form(data, keep, self.steps, form, settings, sizes, before, generator)

    def _store(self, candidate: Candidate) -> None:
        """Store equations, combined from the members where that was asked for."""
        system, members = candidate.system, candidate.first.members
        moved = members.new_zeros(len(members), 0, len(self.steps.motion))
        if candidate.motion is not None:
            moved = candidate.motion.members
        if self.aggregate in ("mean", "median"):
            first, second = (
                combine(x, self.aggregate).cpu().numpy()  # pyright: ignore[reportArgumentType]
                for x in (members, moved)
            )
            system = system._replace(coefficients=first, motion_coefficients=second)
        self.steps.store(system, members, moved)
        self.rebuild()

    def _fit_reward(self, data: Transitions, generator: torch.Generator) -> list[str]:
        """Fit the reward if it is learned; return the names of unused terms."""
        outcome = self.outcome
        if not outcome.learns_reward:
            return []
        terms = outcome.library.evaluate(outcome.columns(data.obs, data.action))
        target = data.reward[:, None]
        one = torch.ones_like(target).bool()
        degrees = torch.tensor([t.degree() for t in outcome.library], device=target.device)
        allowed = affordable(degrees, len(target) / self._regression.rows_per_term)[None]
        rows = Rows(data, terms, target, allowed, target.square().mean(0).sqrt(), one)
        threshold = self._reward_polynomial.threshold
        fitted = fit_any(rows, threshold, self._regression, Sizes(1, 1), None, generator)
        outcome.weights.copy_(fitted.weights[0])
        polynomial_terms = fitted.left_out.clone()
        polynomial_terms[len(outcome.library) - outcome.num_angle_terms :] = (
            False  # these may be absent
        )
        return self._names_of(outcome.library, polynomial_terms)

    def _measure(self, data: Transitions, held: Tensor, blocks: Tensor) -> dict[str, float]:
        """Compute the errors on rows held (B,) bool and blocks (K, H) that were not fitted to."""
        next_obs = self._move(data.obs[held], data.action[held])
        error = ((next_obs - data.next_obs[held]) / self.scale).square().mean()
        spread = data.obs.std(0, correction=0)
        spread = torch.where(spread > 0, spread, torch.inf)
        drift = open_loop_errors(self, data, blocks, spread)
        still = [(data.next_obs[rows] - data.obs[blocks[:, 0]]) / spread for rows in blocks.T]
        no_change = torch.stack([x.square().mean().sqrt() for x in still])
        return {
            "model/holdout_mse": error.item(),
            "model/rollout_error": drift[-1].item(),
            "model/rollout_steps": float(blocks.shape[1]),
            "model/no_change_error": no_change[-1].item(),
            "model/stable": float(drift[-1] <= self._validity.max_rollout_error),
            "model/worse_than_no_change": float(
                not (drift.square().sum() <= no_change.square().sum())
            ),
        }

    def _set_flags(self, metrics: dict[str, float], rows: int) -> None:
        """Set the flags, and warn where rollouts on held-out data are bad."""
        self.stable.fill_(metrics["model/stable"] > 0)
        self.worse_than_no_change.fill_(metrics["model/worse_than_no_change"] > 0)
        error, steps = metrics["model/rollout_error"], int(metrics["model/rollout_steps"])
        where = f"after {steps} steps on held-out data ({rows} transitions)"
        if not self.stable:
            self._warn(f"unstable: error {error:.3g} standard deviations {where}")
        if self.worse_than_no_change:
            other = metrics["model/no_change_error"]
            self._warn(
                f"worse than predicting no change: errors {error:.3g} and {other:.3g} standard "
                f"deviations {where}. Collect more transitions, choose another library, or a "
                "FallbackDynamics (sindy_or_ensemble), whose ensemble then predicts"
            )

    def refusal(self) -> str:
        """Return why an agent should not act by the model, empty if it may; see MayRefuse."""
        if self.worse_than_no_change and self._validity.must_beat_no_change:
            return (
                "SINDy is worse than predicting no change on held-out data, so it is not used for "
                "control. Choose sindy_or_ensemble or another library, or set "
                "validity.must_beat_no_change to False"
            )
        return ""

    def _names_of(self, library: Library, chosen: Tensor) -> list[str]:
        """Return the names of the chosen terms (F,) of a library."""
        return [library[i].text(self.variable_names) for i in torch.nonzero(chosen)[:, 0].tolist()]

    def _warn(self, line: str) -> None:
        """Log a warning, once."""
        if line not in self._warnings:
            self._warnings.add(line)
            _log.warning("SINDy: %s", line)

    # ---- prediction ------------------------------------------------------------------------

    def system(self) -> System:
        """Return the equations of the aggregate."""
        return self.steps.system()

    def rebuild(self) -> None:
        """Generate the code of the present coefficients."""
        self.steps.rebuild()
        if self.steps.predictor.why_not:
            self._warn(f"not compiled, {self.steps.predictor.why_not}")
        self.outcome.rebuild(self.steps.pairs())

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step for action (B, act_dim); no noise is sampled."""
        obs = state.obs
        if state.members:
            next_obs = self.steps.by_blocks(obs, action, list(state.members))
        else:
            next_obs = self.steps(obs, action)
        pred = self.outcome(obs, action, next_obs)
        if with_uncertainty:
            pred = pred._replace(uncertainty=self._compute_uncertainty(obs, action))
        return Belief(pred.next_obs, state.members), pred

    def candidates(
        self, state: Belief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Belief, Prediction]:
        """Return the successors by num elites in turn, for action (B, act_dim): (num * B, ...).

        See OffersCandidates.
        """
        turns = [i % self._sizes.elites for i in range(num)]
        obs, action = state.obs.repeat(num, 1), action.repeat(num, 1)
        shaped = obs.view(num, -1, self.obs_dim), action.view(num, -1, self.act_dim)
        pred = self.outcome(obs, action, self.steps.by_members(*shaped, turns).flatten(0, 1))
        return Belief(pred.next_obs, state.members), pred

    def _compute_uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the uncertainty (B,) at obs (B, obs_dim), action (B, act_dim).

        The leverage is sqrt(theta' (G + lambda I)^-1 theta) with the terms' values theta and their
        second moments G: 1 on average over the data, and large also where all members are wrong.
        """
        if self._uncertainty == "leverage":
            theta = self.steps.layout.library.evaluate(
                [*obs.unbind(1), *action.to(obs.dtype).unbind(1)]
            )
            score = ((theta @ self.whiten.to(obs.dtype)) * theta).sum(1)
            return score.clamp(min=0).sqrt()
        count = self._sizes.elites
        obs, action = obs.expand(count, *obs.shape), action.expand(count, *action.shape)
        next_obs = self.steps.by_members(obs, action, list(range(count))) / self.scale.to(obs)
        return next_obs.var(0, correction=0).mean(-1).sqrt()

    def _move(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the projected next observation of the aggregate."""
        return self.outcome.project(self.steps(obs, action))

    @classmethod
    def from_pysindy(
        cls, model: Any, *, action: ActionSpec | None = None, task: Task | None = None
    ) -> SINDy:
        """Return the model of a fitted pysindy.DiscreteSINDy, with one member, valid everywhere.

        Args:
            model: its polynomial, Fourier, summed and multiplied libraries can be read.
            action: by default unbounded, as many as the model has control inputs.
            task: by default only the names are known.

        Raises:
            BadInput: if it is not of discrete time, or its library cannot be read.
        """
        from mbrl.dynamics.sindy.pysindy_exchange import model_from_pysindy

        return model_from_pysindy(cls, model, action, task)

    def to_pysindy(self) -> Any:
        """Return the aggregate as a fitted pysindy.DiscreteSINDy.

        Raises:
            BadInput: if the model is structured.
        """
        from mbrl.dynamics.sindy.pysindy_exchange import system_to_pysindy

        return system_to_pysindy(self.system(), self.variable_names[: self.obs_dim + self.act_dim])


def _scale(changes: Tensor) -> Tensor:
    """Return the standard deviations (n,) of changes (B, n); of constant ones, the largest."""
    scale = changes.std(0, correction=0)
    most = scale.max()
    return torch.where(scale > 0, scale, torch.where(most > 0, most, 1.0))
