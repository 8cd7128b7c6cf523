"""One step of an ensemble of sparse equations: by their aggregate, or by a member for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from mbrl.dynamics.sindy.codegen import System, active
from mbrl.dynamics.sindy.library import Library, evaluate_terms, polynomial
from mbrl.dynamics.sindy.predictor import Predictor, advance
from mbrl.nn.mlp import split_blocks

Pairs = tuple[tuple[int, int], ...]


class Form(NamedTuple):
    """Kind of equations that a step consists of."""

    flow: bool = False  # rates that are integrated over the step, instead of changes
    structured: bool = False  # velocities only; positions and angles are moved by them


@final
class SparseStep(nn.Module):
    """Step by the coefficients of M members, of which only those that are not zero cost time.

    Args:
        library: terms over [obs, action].
        num_obs: n.
        num_actions: m.
        num_members: M.
        delta: whether equations predict changes, else next values.
        positions: (position, velocity), used by a structured form.
        compile: whether the aggregate gets a C kernel.

    Attributes:
        positions: (position, velocity).
        layout: the equations' shape, without coefficients.
        predictor: the aggregate as generated code.
    """

    weights: Tensor  # (n, F) float64, of the aggregate; a row for each observation
    members: Tensor  # (M, n, F)
    motion_weights: Tensor  # (n, 2 n) of positions and of angles, in the row of their cosine
    motion_members: Tensor  # (M, n, 2 n)
    circles: Tensor  # (n // 2, 2) int64, pairs (cos, sin), -1 where there are fewer
    form: Tensor  # (2,) bool
    layout: System
    predictor: Predictor

    def __init__(
        self,
        library: Library,
        num_obs: int,
        num_actions: int,
        num_members: int,
        *,
        delta: bool,
        positions: Pairs,
        compile: bool,
    ):
        """Set all coefficients to zero."""
        super().__init__()
        self._library, self.positions = library, positions
        self._sizes = num_obs, num_actions
        self._delta, self._compile = delta, compile
        first_new = num_obs + num_actions
        self.motion = polynomial([v for i in range(num_obs) for v in (i, first_new + i)], 1)
        self.motion = Library(self.motion[1:])
        for name, terms in (("", library), ("motion_", self.motion)):
            zeros = torch.zeros(num_members, num_obs, len(terms), dtype=torch.float64)
            self.register_buffer(f"{name}weights", torch.zeros_like(zeros[0]))
            self.register_buffer(f"{name}members", zeros)
        self.register_buffer("circles", torch.full((num_obs // 2, 2), -1))
        self.register_buffer("form", torch.zeros(2, dtype=torch.bool))
        self.rebuild()

    def pairs(self) -> Pairs:
        """Return the pairs (cos, sin)."""
        return tuple((c, s) for c, s in self.circles.tolist() if c >= 0)

    def set_pairs(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Store the pairs (cos, sin)."""
        self.circles.fill_(-1)
        for row, pair in enumerate(pairs):
            self.circles[row] = torch.tensor(pair)

    def lay_out(self, form: Form) -> System:
        """Return the shape of the equations of a form; their coefficients are empty."""
        num_obs, num_actions = self._sizes
        angles = self.pairs() if form.structured else ()
        positions = tuple(p for p, _ in self.positions) if form.structured else ()
        moved = {*positions, *(i for pair in angles for i in pair)}
        targets = tuple(i for i in range(num_obs) if i not in moved)
        none = np.zeros((0, 0))
        return System(
            num_obs,
            num_actions,
            self._delta,
            targets,
            self._library,
            none,
            positions,
            angles,
            self.motion if form.structured else Library(()),
            none,
            form.flow,
        )

    def store(self, system: System, members: Tensor, motion_members: Tensor) -> None:
        """Store the equations of an aggregate and of members.

        Args:
            system: of a form of lay_out, with coefficients.
            members: (M, targets, F).
            motion_members: (M, positions + angles, 2 n).
        """
        for buffer in (self.weights, self.members, self.motion_weights, self.motion_members):
            buffer.zero_()
        targets, moved = list(system.targets), _moved(system)
        self.weights[targets] = torch.from_numpy(system.coefficients).to(self.weights)
        self.members[:, targets] = members.to(self.members)
        if moved:
            motion = torch.from_numpy(system.motion_coefficients).to(self.weights)
            self.motion_weights[moved] = motion
            self.motion_members[:, moved] = motion_members.to(self.members)
        self.form.copy_(torch.tensor([system.flow, bool(moved)]))
        self.rebuild()

    def system(self) -> System:
        """Return the equations of the aggregate."""
        return self.layout._replace(
            coefficients=self.weights[list(self.layout.targets)].cpu().numpy(),
            motion_coefficients=self.motion_weights[_moved(self.layout)].cpu().numpy(),
        )

    def rebuild(self) -> None:
        """Generate the code of the present coefficients."""
        self.layout = self.lay_out(Form(*self.form.tolist()))
        system = self.system()
        self.predictor = Predictor(system, compile=self._compile)
        self._active: list[tuple[Library, Tensor]] = []  # terms that any member uses, their weights
        for library, members in (
            (system.library, self.members[:, list(system.targets)]),
            (system.motion, self.motion_members[:, _moved(system)]),
        ):
            terms = active(library, members.flatten(0, 1).cpu().numpy()).terms
            places = [library.index(term) for term in terms]
            self._active.append((terms, members[..., places]))

    def use_kernel(self) -> None:
        """Compile a C kernel for all further steps, where there is a compiler."""
        self._compile = True
        self.rebuild()

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Predict by the aggregate from obs (B, n), action (B, m): (B, n)."""
        return self.predictor.torch(obs, action)

    def by_members(self, obs: Tensor, action: Tensor, members: list[int]) -> Tensor:
        """Predict by one member for each of obs (G, B, n), action (G, B, m): (G, B, n)."""
        features = [lambda *c, t=terms: evaluate_terms(t, c[:-1]) for terms, _ in self._active]
        first, second = (weights[members].to(obs) for _, weights in self._active)
        return advance(self.layout, obs, action, features, first, second)

    def by_blocks(self, obs: Tensor, action: Tensor, members: list[int]) -> Tensor:
        """Predict by one member for each of G equal blocks of rows.

        Args:
            obs: (B, n).
            action: (B, m).
            members: G members.

        Returns:
            Next observations (B, n).
        """
        num = len(members)
        next_obs = self.by_members(split_blocks(obs, num), split_blocks(action, num), members)
        return next_obs.flatten(0, 1)[: obs.shape[0]]


def step_of(system: System, obs: Tensor, action: Tensor) -> Tensor:
    """Predict one step of a system without generated code.

    Args:
        system: the equations.
        obs: (B, n).
        action: (B, m).

    Returns:
        Next observations (B, n).
    """
    stages = [
        active(system.library, system.coefficients),
        active(system.motion, system.motion_coefficients),
    ]
    features = [lambda *c, t=stage.terms: evaluate_terms(t, c[:-1]) for stage in stages]
    first, second = (torch.from_numpy(stage.weights).to(obs) for stage in stages)
    return advance(system, obs, action, features, first, second)


def _moved(system: System) -> list[int]:
    """Return the rows of the positions, and of the angles' cosines."""
    return [*system.positions, *(c for c, _ in system.angles)]
