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
from mbrl.dynamics.sindy.data import hold_out, motion_problem, read_limits, usable
from mbrl.dynamics.sindy.fit import Problem, affordable, bags, fit_members, leverage_matrix
from mbrl.dynamics.sindy.library import Library, build_library, reduce_circles
from mbrl.dynamics.sindy.outcome import Outcome
from mbrl.dynamics.sindy.settings import (
    LibrarySettings,
    RegressionSettings,
    RewardSettings,
    ValiditySettings,
)
from mbrl.dynamics.sindy.step import SparseStep, lay_out
from mbrl.errors import BadInput
from mbrl.imagination.open_loop import open_loop_errors
from mbrl.nn.generators import as_generator
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import AtMost, NumMembers, checked

_log = logging.getLogger(__name__)
_ROWS_TO_BAG = 5  # rows per candidate term from which members are fitted to bootstraps


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
            are turned by them.
        num_members: equations fitted for each target.
        num_elites: equations used for each target: those with the least error on all rows.
        aggregate: coefficients of a prediction:
            "median" or "mean": those of the elites;
            "member": each particle uses one elite, the median where there are no particles.
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

    Raises:
        BadInput: for a value out of range, a structure or reward that the task does not know, or a
            name that is no observation's.
    """

    scale: Tensor  # (obs_dim,) size of a change
    whiten: Tensor  # (F, F) of the leverage
    stable: Tensor  # () bool

    @checked
    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        library: LibrarySettings | Library = LibrarySettings(),
        regression: RegressionSettings = RegressionSettings(),
        structured: bool = False,
        num_members: NumMembers = 20,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 10,
        aggregate: Literal["median", "mean", "member"] = "median",
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
        self.obs_dim, self.act_dim, self.task = obs_dim, action.dim, task
        names = list(task.obs_names or [f"x{i}" for i in range(obs_dim)])
        acts = ["u"] if action.dim == 1 else [f"u{i}" for i in range(action.dim)]
        self.variable_names = [*names, *acts, *(f"{name}'" for name in names)]
        if isinstance(library, LibrarySettings):
            library = build_library(library, obs_dim, action.dim)
            library = reduce_circles(library, task.angle_pairs)
        is_delta = regression.target == "delta"
        layout = lay_out(library, obs_dim, action.dim, task, is_delta, structured)
        self.steps = SparseStep(layout, num_elites, aggregate == "mean", compile)
        self.outcome = Outcome(obs_dim, action.dim, task, reward, reward_polynomial.degree)
        self.aggregate, self._uncertainty = aggregate, uncertainty
        self._regression, self._reward_polynomial = regression, reward_polynomial
        self._validity = validity
        self._num_members, self._num_elites = num_members, num_elites
        self._limits = read_limits(regression.limits or {}, names, "regression.limits")
        self._valid_within = read_limits(validity.within or {}, names, "validity.within")
        self._warnings: set[str] = set()
        double: dict[str, Any] = {"dtype": torch.float64}
        self.register_buffer("whiten", torch.zeros(len(library), len(library), **double))
        self.register_buffer("scale", torch.ones(obs_dim, **double))
        self.register_buffer("stable", torch.tensor(True))
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
        state = generator.get_state()
        blocks, train = hold_out(data, self._validity.horizon)
        held = train.logical_not()
        if int(train.sum()) < len(self.steps.layout.library):  # too few to hold any out
            train, held = torch.ones_like(train), torch.ones_like(held)
        self._regress(data.select(train), generator)
        metrics = self._measure(data, held, blocks)
        generator.set_state(state)  # the same bags whether or not rows are held out
        left_out = self._regress(data, generator)
        if left_out:
            names = ", ".join(left_out)
            self._warn(f"left out, constant or dependent on simpler terms in the data: {names}")
        self.stable.fill_(metrics["model/stable"] > 0)
        if not self.stable:
            error, steps = metrics["model/rollout_error"], int(metrics["model/rollout_steps"])
            where = f"after {steps} steps on held-out data ({rows} transitions)"
            self._warn(f"unstable: error {error:.3g} standard deviations {where}")
        used = int((self.system().coefficients != 0).sum())
        return {**metrics, "model/terms": float(used)}

    def _regress(self, data: Transitions, generator: torch.Generator) -> list[str]:
        """Fit members, reward, validity and leverage to rows; return the names of unused terms."""
        layout, columns = self.steps.layout, [*data.obs.T, *data.action.T]
        settings = self._regression
        change = data.next_obs - data.obs
        rows = change.shape[0]
        features = layout.library.evaluate(columns)
        targets = (change if layout.delta else data.next_obs)[:, list(layout.targets)]
        degrees = torch.tensor([term.degree() for term in layout.library], device=features.device)
        allowed = affordable(degrees, rows / settings.rows_per_term)
        problem = Problem(features, targets, allowed.expand(targets.shape[1], -1))
        weights = None
        if settings.bagging and rows >= _ROWS_TO_BAG * features.shape[1]:
            weights = bags(rows, self._num_members, generator=generator)
        sparsity: dict[str, Any] = {"alpha": settings.alpha, "normalize": settings.normalize}
        ensemble: dict[str, Any] = {
            "members": self._num_members,
            "elites": self._num_elites,
            "weights": weights,
            "threshold": settings.threshold,
        }
        coefficients, determined = fit_members(
            problem,
            num_dropped_terms=settings.num_dropped_terms,
            generator=generator,
            **ensemble,
            **sparsity,
        )
        self.steps.members.copy_(coefficients)
        unused = self._names_of(layout.library, ~determined)
        if layout.motion:
            problem = motion_problem(data, layout.motion, self.task.positions, layout.angles)
            coefficients, determined = fit_members(problem, **ensemble, **sparsity)
            self.steps.motion_members.copy_(coefficients)
            unused += self._names_of(layout.motion, ~determined)
        if self.outcome.learns_reward:
            terms = self.outcome.library.evaluate(columns)
            problem = Problem(terms, data.reward[:, None], torch.ones_like(terms[:1]).bool())
            coefficients, determined = fit_members(
                problem,
                members=1,
                elites=1,
                threshold=self._reward_polynomial.threshold,
                **sparsity,
            )
            self.outcome.weights.copy_(coefficients[0, 0])
            unused += self._names_of(self.outcome.library, ~determined)

        self.outcome.fit_bounds(data, self._validity.margin, self._valid_within)
        self.scale.copy_(change.std(0, correction=0).clamp(min=1e-6))
        self.whiten.copy_(leverage_matrix(features.T @ features, rows))
        self.rebuild()
        return list(dict.fromkeys(unused))

    def _measure(self, data: Transitions, held: Tensor, blocks: Tensor) -> dict[str, float]:
        """Compute the errors on rows held (B,) bool and blocks (K, H) that were not fitted to."""
        next_obs = self._move(data.obs[held], data.action[held])
        error = ((next_obs - data.next_obs[held]) / self.scale).square().mean()
        spread = data.obs.std(0, correction=0).clamp(min=1e-3)
        drift = open_loop_errors(self, data, blocks, spread)[-1].item()
        return {
            "model/holdout_mse": error.item(),
            "model/rollout_error": drift,
            "model/rollout_steps": float(blocks.shape[1]),
            "model/stable": float(drift <= self._validity.max_rollout_error),
        }

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
        self.outcome.rebuild()

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
        turns = [i % self._num_elites for i in range(num)]
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
        count = self._num_elites
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
