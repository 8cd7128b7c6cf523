"""One step of an ensemble of sparse equations: by their aggregate, or by a member for each row."""

from __future__ import annotations

from typing import Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from mbrl.dynamics.sindy.codegen import System, active
from mbrl.dynamics.sindy.library import Library, evaluate_terms, polynomial
from mbrl.dynamics.sindy.predictor import Predictor, advance
from mbrl.nn.mlp import split_blocks
from mbrl.types import Task


@final
class SparseStep(nn.Module):
    """Step by the coefficients of M members, of which only those that are not zero cost time.

    Args:
        layout: which equations there are; its coefficients are not used.
        num_members: M.
        mean: whether the aggregate is the mean instead of the median.
        compile: whether the aggregate gets a C kernel.

    Attributes:
        predictor: the aggregate as generated code.
    """

    members: Tensor  # (M, targets, F) float64
    motion_members: Tensor  # (M, positions + angles, F2)
    predictor: Predictor

    def __init__(self, layout: System, num_members: int, mean: bool, compile: bool):
        """Set all coefficients to zero."""
        super().__init__()
        self.layout = layout
        moved = len(layout.positions) + len(layout.angles)
        for name, equations, library in (
            ("members", len(layout.targets), layout.library),
            ("motion_members", moved, layout.motion),
        ):
            zeros = torch.zeros(num_members, equations, len(library), dtype=torch.float64)
            self.register_buffer(name, zeros)
        self._mean, self._compile = mean, compile
        self.rebuild()

    def system(self) -> System:
        """Return the equations of the aggregate."""
        first, second = (
            aggregate(members, "mean" if self._mean else "median").cpu().numpy()
            for members in (self.members, self.motion_members)
        )
        return self.layout._replace(coefficients=first, motion_coefficients=second)

    def rebuild(self) -> None:
        """Generate the code of the present coefficients."""
        system = self.system()
        self.predictor = Predictor(system, compile=self._compile)
        self._active: list[tuple[Library, Tensor]] = []  # terms that any member uses, their weights
        for library, members in (
            (system.library, self.members),
            (system.motion, self.motion_members),
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


def lay_out(
    library: Library, num_obs: int, num_actions: int, task: Task, delta: bool, structured: bool
) -> System:
    """Return which equations there are, without coefficients.

    Args:
        library: terms over [obs, action].
        num_obs: n.
        num_actions: m.
        task: its positions and angle_pairs give the structure.
        delta: whether equations predict changes.
        structured: whether positions and angles are moved by the velocities, old and new.
    """
    angles = task.angle_pairs if structured else ()
    positions = tuple(p for p, _ in task.positions) if structured else ()
    moved = {*positions, *(i for pair in angles for i in pair)}
    targets = tuple(i for i in range(num_obs) if i not in moved)
    first_new = num_obs + num_actions
    rates = [v for i in targets for v in (i, first_new + i)] if structured else []
    motion = polynomial(rates, 1, bias=False) if structured else Library(())
    none = np.zeros((0, 0))
    return System(
        num_obs, num_actions, delta, targets, library, none, positions, angles, motion, none
    )


def aggregate(members: Tensor, how: Literal["median", "mean"]) -> Tensor:
    """Return the mean or median of coefficients (M, T, F) over members: (T, F)."""
    if how == "mean" or members.numel() == 0:
        return members.mean(0)
    return torch.quantile(members, 0.5, dim=0)
