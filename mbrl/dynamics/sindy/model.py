"""Sparse equations of motion (SINDy) as a dynamics model.

The structured variant regresses velocities only: positions integrate them and
angles turn by them, exactly on the circle.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from torch import Tensor

from mbrl.dynamics.base import Belief, MarkovDynamics
from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.data import hold_out, motion_problem, read_limits, usable
from mbrl.dynamics.sindy.fit import Problem, affordable, bags, fit_members, leverage_matrix
from mbrl.dynamics.sindy.library import (
    Library,
    candidates,
    reduce_circles,
)
from mbrl.dynamics.sindy.outcome import Outcome
from mbrl.dynamics.sindy.step import SparseStep, lay_out
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Prediction, Task, Transitions

_log = logging.getLogger(__name__)
_ROWS_TO_BAG = 5  # rows per candidate term from which members are fitted to bootstraps


class SINDy(MarkovDynamics):
    """Predict the next observation by sparse equations, an ensemble of them.

    Brunton et al. 2016 (SINDy), Fasel et al. 2022 (ensembles), Zolman et al. 2024 (SINDy-RL: the
    loop, the safeguards).

    Data that cannot tell two terms apart (constant columns, dependent ones, fewer rows than terms)
    give the weight to the simpler one; a line says which were left out. With fewer than 5 rows per
    term members are fitted to all rows and differ by library dropout only: bootstraps would not
    determine them. A termination that the task does not say is never predicted.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment; its angle_pairs and positions give the structure.
        degree: of the polynomials.
        interaction: whether they mix variables.
        frequencies: sines and cosines of 1, 2, ... times each observation, so many.
        products: also multiply the polynomials by them.
        affine: actions enter linearly, times any term of the observations.
        library: terms over [obs, action] instead of all these.
        target: what an equation gives, the change or the next value.
        structured: regress velocities; integrate positions, turn angles.
        threshold: least coefficient of a term that stays.
        alpha: ridge while terms are chosen.
        normalize: thresholds are shares of a target's size, free of units, instead of raw values.
        rows_per_term: while rows are fewer, the terms of the highest degrees wait.
        num_members: equations fitted for each target.
        num_elites: equations used, those that fit all rows best.
        bagging: to a bootstrap of the rows each.
        dropped: terms taken away from each member at random.
        aggregate: the coefficients used: median, mean, or those of one member per row.
        uncertainty: spread of the members, or leverage: how far outside the data's features.
        limits: name of an observation -> [low, high]; transitions beyond are not
            regressed (contacts, walls).
        bounds: predictions are valid within the data's range, widened this many times both ways.
        valid_within: name of an observation -> [low, high], where predictions are valid at most.
        reward: "known" takes it from the task, "learned" is a sparse polynomial, "auto" chooses.
        reward_degree: of that polynomial in obs and action.
        reward_threshold: of its terms, normalised.
        horizon: steps of the rollouts on held-out data.
        unstable_above: error of these, in standard deviations, from which a model is unstable.
        compile: make a C kernel where a compiler is found.
        device: where it lives.

    Attributes:
        stable: whether the last fit held on held-out rollouts.

    Raises:
        BadInput: for a structure that the task does not have, or names that are none.
    """

    scale: Tensor  # (obs_dim,) size of a change
    whiten: Tensor  # (F, F) of the leverage score
    stable: Tensor  # () bool

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        degree: int = 2,
        interaction: bool = True,
        frequencies: int = 0,
        products: bool = False,
        affine: bool = True,
        library: Library | None = None,
        target: Literal["delta", "next"] = "delta",
        structured: bool = False,
        threshold: float = 0.01,
        alpha: float = 1e-5,
        normalize: bool = True,
        rows_per_term: float = 1.0,
        num_members: int = 20,
        num_elites: int = 10,
        bagging: bool = True,
        dropped: int = 1,
        aggregate: Literal["median", "mean", "member"] = "median",
        uncertainty: Literal["spread", "leverage"] = "spread",
        limits: dict[str, Any] | None = None,
        bounds: float = 5.0,
        valid_within: dict[str, Any] | None = None,
        reward: Literal["auto", "known", "learned"] = "auto",
        reward_degree: int = 2,
        reward_threshold: float = 0.02,
        horizon: int = 25,
        unstable_above: float = 1.0,
        compile: bool = False,
        device: torch.device | str = "cpu",
    ):
        """Lay out the equations; there is no term in them yet."""
        super().__init__()
        if num_elites > num_members:
            raise BadInput(f"dynamics.num_elites={num_elites}: more than num_members={num_members}")
        if structured and not (task.angle_pairs or task.positions):
            raise BadInput(
                "dynamics.structured=true: this environment names no angles and no positions"
            )
        self.obs_dim, self.act_dim, self.task = obs_dim, action.dim, task
        names = list(task.obs_names or [f"x{i}" for i in range(obs_dim)])
        acts = ["u"] if action.dim == 1 else [f"u{i}" for i in range(action.dim)]
        self.variable_names = [*names, *acts, *(f"{name}'" for name in names)]
        seen = range(obs_dim)
        acted = range(obs_dim, obs_dim + action.dim)
        if library is None:
            library = candidates(
                seen,
                acted,
                degree,
                interaction=interaction,
                frequencies=frequencies,
                products=products,
                affine=affine,
            )
            library = reduce_circles(library, task.angle_pairs)
        layout = lay_out(library, obs_dim, action.dim, task, target == "delta", structured)
        self.steps = SparseStep(layout, num_elites, aggregate == "mean", compile)
        self.outcome = Outcome(obs_dim, action.dim, task, reward, reward_degree)
        self.aggregate, self._uncertainty = aggregate, uncertainty
        self._threshold = threshold
        self._sparsity: dict[str, Any] = {
            "members": num_members,
            "elites": num_elites,
            "alpha": alpha,
            "normalize": normalize,
        }
        self._rows_per_term = rows_per_term
        self._num_elites = num_elites
        self._num_members, self._bagging, self._dropped = num_members, bagging, dropped
        self._limits = read_limits(limits or {}, names, "limits")
        self._valid_within = read_limits(valid_within or {}, names, "valid_within")
        self._bounds = bounds
        self._reward_threshold = reward_threshold
        self._horizon, self._unstable_above = horizon, unstable_above
        self._said: set[str] = set()
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
    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Regress on all data; see Dynamics.fit. Measured on blocks held out, then fitted to all.

        Raises:
            BadInput: if there are too few transitions.
            NumericalFault: if an observation, action or reward is not finite.
        """
        data = usable(data, self._limits, torch.float64)
        rows, least = data.obs.shape[0], self.obs_dim + self.act_dim + 2
        if rows < least:
            raise BadInput(
                f"dynamics=sindy: {rows} usable transitions, at least {least} are needed for "
                f"{self.obs_dim + self.act_dim} variables; raise agent.learning_starts"
            )
        state = generator.get_state()
        blocks, train = hold_out(data, self._horizon)
        held = train.logical_not()
        if int(train.sum()) < len(self.steps.layout.library):  # too few to hold any out
            train, held = torch.ones_like(train), torch.ones_like(held)
        self._regress(Transitions(*(x[train] for x in data)), generator)
        metrics = self._measure(data, held, blocks)
        generator.set_state(state)  # the same bags whether or not rows are held out
        left_out = self._regress(data, generator)
        if left_out:
            names = ", ".join(left_out)
            self._say(f"left out, constant or dependent on simpler terms in the data: {names}")
        self.stable.fill_(metrics["model/stable"] > 0)
        if not self.stable:
            error, steps = metrics["model/rollout_error"], int(metrics["model/rollout_steps"])
            where = f"after {steps} steps on held-out data ({rows} transitions)"
            self._say(f"unstable: error {error:.3g} standard deviations {where}")
        used = int((self.system().coefficients != 0).sum())
        return {**metrics, "model/terms": float(used)}

    def _regress(self, data: Transitions, generator: torch.Generator) -> list[str]:
        """Fit members, reward, bounds and leverage to rows; name the terms left out."""
        layout, columns = self.steps.layout, [*data.obs.T, *data.action.T]
        change = data.next_obs - data.obs
        rows = change.shape[0]
        features = layout.library.evaluate(columns)
        wanted = (change if layout.delta else data.next_obs)[:, list(layout.targets)]
        degrees = torch.tensor([term.degree() for term in layout.library], device=features.device)
        allowed = affordable(degrees, rows / self._rows_per_term)
        problem = Problem(features, wanted, allowed.expand(wanted.shape[1], -1))
        weights = None
        if self._bagging and rows >= _ROWS_TO_BAG * features.shape[1]:
            weights = bags(rows, self._num_members, generator=generator)
        found, told = fit_members(
            problem,
            threshold=self._threshold,
            weights=weights,
            dropped=self._dropped,
            generator=generator,
            **self._sparsity,
        )
        self.steps.members.copy_(found)
        left_out = self._names_of(layout.library, ~told)
        if layout.motion:
            problem = motion_problem(data, layout.motion, self.task.positions, layout.angles)
            found, told = fit_members(
                problem, threshold=self._threshold, weights=weights, **self._sparsity
            )
            self.steps.motion_members.copy_(found)
            left_out += self._names_of(layout.motion, ~told)
        if self.outcome.learns_reward:
            terms = self.outcome.library.evaluate(columns)
            problem = Problem(terms, data.reward[:, None], torch.ones_like(terms[:1]).bool())
            sparsity = {**self._sparsity, "members": 1, "elites": 1}
            found, told = fit_members(problem, threshold=self._reward_threshold, **sparsity)
            self.outcome.weights.copy_(found[0, 0])
            left_out += self._names_of(self.outcome.library, ~told)

        self.outcome.fit_bounds(data, self._bounds, self._valid_within)
        self.scale.copy_(change.std(0, correction=0).clamp(min=1e-6))
        self.whiten.copy_(leverage_matrix(features.T @ features, rows))
        self.rebuild()
        return list(dict.fromkeys(left_out))

    def _measure(self, data: Transitions, held: Tensor, blocks: Tensor) -> dict[str, float]:
        """Measure the model on rows and blocks (K, H) that it was not fitted to."""
        after = self._move(data.obs[held], data.action[held])
        error = ((after - data.next_obs[held]) / self.scale).square().mean()
        spread = data.obs.std(0, correction=0).clamp(min=1e-3)
        obs = data.obs[blocks[:, 0]]
        for step in range(blocks.shape[1]):
            obs = self.outcome.bound(self._move(obs, data.action[blocks[:, step]]))[0]
        drift = ((obs - data.next_obs[blocks[:, -1]]) / spread).square().mean().sqrt().item()
        return {
            "model/holdout_mse": error.item(),
            "model/rollout_error": drift,
            "model/rollout_steps": float(blocks.shape[1]),
            "model/stable": float(drift <= self._unstable_above),
        }

    def _names_of(self, library: Library, chosen: Tensor) -> list[str]:
        """Write the chosen terms (F,) of a library."""
        return [library[i].text(self.variable_names) for i in torch.nonzero(chosen)[:, 0].tolist()]

    def _say(self, line: str) -> None:
        """Say something about the model, once."""
        if line not in self._said:
            self._said.add(line)
            _log.warning("dynamics=sindy: %s", line)

    # ---- prediction ------------------------------------------------------------------------

    def system(self) -> System:
        """Give the equations of the mean belief."""
        return self.steps.system()

    def rebuild(self) -> None:
        """Generate the code of the coefficients."""
        self.steps.rebuild()
        if self.steps.predictor.why_not:
            self._say(f"not compiled, {self.steps.predictor.why_not}")
        self.outcome.rebuild()

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step; no noise is drawn, with a generator or without."""
        obs = state.obs
        if state.members:
            after = self.steps.by_blocks(obs, action, list(state.members))
        else:
            after = self.steps(obs, action)
        pred = self.outcome(obs, action, after)
        if with_uncertainty:
            pred = pred._replace(uncertainty=self._compute_uncertainty(obs, action))
        return Belief(pred.next_obs, state.members), pred

    def candidates(
        self, state: Belief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Belief, Prediction]:
        """Offer the successors of num members, in turn; K leads: (num * B, ...)."""
        turn = [i % self._num_elites for i in range(num)]
        obs, action = state.obs.repeat(num, 1), action.repeat(num, 1)
        shaped = obs.view(num, -1, self.obs_dim), action.view(num, -1, self.act_dim)
        pred = self.outcome(obs, action, self.steps.by_members(*shaped, turn).flatten(0, 1))
        return Belief(pred.next_obs, state.members), pred

    def _compute_uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Score rows of obs (B, obs_dim) and action (B, act_dim): (B,), >= 0.

        By the members' spread, in sizes of a change, or by the leverage.

        The leverage is sqrt(theta' (G + lambda I)^-1 theta), 1 on average over the data; it sees
        what all members share.
        """
        if self._uncertainty == "leverage":
            theta = self.steps.layout.library.evaluate(
                [*obs.unbind(1), *action.to(obs.dtype).unbind(1)]
            )
            score = ((theta @ self.whiten.to(obs.dtype)) * theta).sum(1)
            return score.clamp(min=0).sqrt()
        count = self._num_elites
        obs, action = obs.expand(count, *obs.shape), action.expand(count, *action.shape)
        after = self.steps.by_members(obs, action, list(range(count))) / self.scale.to(obs)
        return after.var(0, correction=0).mean(-1).sqrt()

    def _move(self, obs: Tensor, action: Tensor) -> Tensor:
        """Step by the mean belief, projected."""
        return self.outcome.project(self.steps(obs, action))

    @classmethod
    def from_pysindy(
        cls, model: Any, *, action: ActionSpec | None = None, task: Task | None = None
    ) -> SINDy:
        """Take over a fitted pysindy.DiscreteSINDy; bounds are open, one member, no spread.

        Args:
            model: its polynomial, Fourier, summed and multiplied libraries can be read.
            action: by default unbounded, as many as the model has control inputs.
            task: by default only the names are known.

        Raises:
            BadInput: if it is not of discrete time, or its library cannot be read.
        """
        from mbrl.dynamics.sindy.pysindy_exchange import take_over

        return take_over(cls, model, action, task)

    def to_pysindy(self) -> Any:
        """Make a fitted pysindy.DiscreteSINDy of the mean belief.

        Raises:
            BadInput: if the model is structured.
        """
        from mbrl.dynamics.sindy.pysindy_exchange import system_to_pysindy

        return system_to_pysindy(self.system(), self.variable_names[: self.obs_dim + self.act_dim])
