"""Sparse equations as text, LaTeX and SymPy expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mbrl.dynamics.sindy.library import ONE, Term


class Equation(NamedTuple):
    """Equation: its left side and its terms.

    Names of the next step end in a prime.
    """

    left: str  # "speed' - speed", "rate of speed", "turn of (cos, sin)", "reward"
    terms: tuple[tuple[float, Term], ...]
    names: tuple[str, ...]  # of every variable

    def text(self, digits: int = 4) -> str:
        """Return it as a line of text."""
        return f"{self.left} = {self.right(digits)}"

    def right(self, digits: int = 4) -> str:
        """Return its right side as text."""
        parts: list[str] = []
        for weight, term in self.terms:
            number = f"{abs(weight):.{digits}g}"
            body = number if term == ONE else f"{number} {term.text(self.names)}"
            sign = "-" if weight < 0 else "+"
            parts.append(f"{sign} {body}" if parts else f"{'-' if weight < 0 else ''}{body}")
        return " ".join(parts) or "0"

    def latex(self, digits: int = 4) -> str:
        """Return it in LaTeX."""
        import sympy

        upright = {sympy.Symbol(name, real=True): latex_name(name) for name in self.names}
        right = sympy.latex(self.sympy(digits), symbol_names=upright)
        return f"{latex_name(self.left)} = {right}"

    def sympy(self, digits: int | None = None) -> Any:
        """Return its right side as a SymPy expression, weights rounded to digits unless None."""
        import sympy

        symbols = [sympy.Symbol(name, real=True) for name in self.names]
        total = sympy.Integer(0)
        for weight, term in self.terms:
            value = sympy.Float(weight) if digits is None else sympy.Float(f"{weight:.{digits}g}")
            for v in term.variables:
                value *= symbols[v]
            for function, k, v in term.waves:
                value *= getattr(sympy, function)(k * symbols[v])
            total += value
        return total


def latex_name(name: str) -> str:
    """Return a name in LaTeX, its words upright."""
    escaped = name.replace("_", r"\_")
    return re.sub(r"[A-Za-z](?:[A-Za-z0-9]|\\_)*", lambda word: rf"\mathrm{{{word[0]}}}", escaped)


def equations(model: Any) -> list[Equation]:
    """Return the equations of a SINDy model's aggregate, the reward's last if it is learned."""
    system = model.system()
    names = tuple(model.variable_names)
    stages: list[tuple[str, Sequence[float], Sequence[Term]]] = []
    own_names = {}
    for row, target in zip(system.coefficients, system.targets, strict=True):
        name = names[target]
        left = f"{name}' - {name}" if system.delta else f"{name}'"
        left = f"rate of {name}" if system.flow else left
        stages.append((left, row, system.library))
    moved = [f"{names[p]}' - {names[p]}" for p in system.positions]
    moved += [f"turn of ({names[c]}, {names[s]})" for c, s in system.angles]
    for row, left in zip(system.motion_coefficients, moved, strict=True):
        stages.append((left, row, system.motion))
    if model.outcome.learns_reward:
        stages.append(("reward", model.outcome.weights.tolist(), model.outcome.library))
        inputs = names[: system.num_obs + system.num_actions]
        own_names["reward"] = tuple(model.outcome.variable_names(inputs))
    return [
        Equation(
            left,
            tuple((float(w), term) for w, term in zip(row, library, strict=True) if w != 0),
            own_names.get(left, names),
        )
        for left, row, library in stages
    ]
