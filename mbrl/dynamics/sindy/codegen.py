"""Python code generated from the terms that sparse equations use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbrl.dynamics.sindy.library import ONE, Library, Term


class System(NamedTuple):
    """Sparse equations of one step, in two stages.

    Variables are numbered: the observations (n), the actions (m), the observations of the next step
    (n). The second stage may use the next observations that the first has predicted.
    """

    num_obs: int
    num_actions: int
    delta: bool  # the first stage predicts changes
    targets: tuple[int, ...]  # observations of the first stage
    library: Library
    coefficients: NDArray[np.float64]  # (targets, terms)
    positions: tuple[int, ...] = ()  # observations whose change the second stage predicts
    angles: tuple[tuple[int, int], ...] = ()  # (cos, sin) that it turns, after the positions
    motion: Library = Library(())
    motion_coefficients: NDArray[np.float64] = np.zeros((0, 0))  # (positions + angles, terms)
    flow: bool = False  # the first stage predicts rates per step, which are integrated over it


class Stage(NamedTuple):
    """Terms that equations use, and their weights."""

    terms: Library
    weights: NDArray[np.float64]  # (targets, active terms)


def active(library: Library, coefficients: NDArray[np.float64]) -> Stage:
    """Return the terms of a library that equations with coefficients (T, F) use."""
    used = np.flatnonzero((coefficients != 0).any(0)) if coefficients.size else []
    return Stage(Library(library[i] for i in used), coefficients[:, used])


def _name(term: Term) -> str:
    """Return the name of the local variable of a term."""
    if len(term.variables) == 1 and not term.waves:
        return f"v{term.variables[0]}"
    parts = [str(v) for v in term.variables] + [f"{f}{k}_{v}" for f, k, v in term.waves]
    return "t_" + "_".join(parts)


def statements(terms: Sequence[Term], number: Callable[[float], str]) -> list[tuple[str, str]]:
    """Return assignments (name, expression) that compute every term.

    Args:
        terms: what is needed.
        number: writes a number.
    """
    lines: dict[str, str] = {}

    def need(term: Term) -> str:
        name = _name(term)
        if term == ONE or name in lines or name[0] == "v":
            return name
        if term.waves:
            others = Term(term.variables, term.waves[:-1])
            function, k, v = term.waves[-1]
            last = Term((), (term.waves[-1],))
            if others != ONE:
                left, right = need(others), need(last)
                lines[name] = f"{left} * {right}"
            else:
                lines[name] = f"{function}({f'v{v}' if k == 1 else f'{number(k)} * v{v}'})"
        else:
            left = need(Term(term.variables[:-1]))
            lines[name] = f"{left} * v{term.variables[-1]}"
        return name

    for term in terms:
        need(term)
    return list(lines.items())


def weighted_sum(stage: Stage, row: int, number: Callable[[float], str]) -> str:
    """Return the right side of equation number row of a stage, numbers written by number."""
    parts = []
    for term, weight in zip(stage.terms, stage.weights[row], strict=True):
        if weight != 0:
            value = number(float(weight))
            parts.append(value if term == ONE else f"{value} * {_name(term)}")
    return " + ".join(parts) or number(0.0)


def step_statements(
    system: System, number: Callable[[float], str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return a whole step as assignments, and the name of each next observation.

    Args:
        system: the equations.
        number: writes a number.
    """
    first = active(system.library, system.coefficients)
    second = active(system.motion, system.motion_coefficients)
    lines = statements(first.terms, number)
    base = system.num_obs + system.num_actions
    out = [f"v{i}" for i in range(system.num_obs)]
    for row, target in enumerate(system.targets):
        change = weighted_sum(first, row, number)
        lines.append((f"v{base + target}", f"v{target} + ({change})" if system.delta else change))
        out[target] = f"v{base + target}"
    lines += statements(second.terms, number)
    for row, target in enumerate(system.positions):
        out[target] = f"v{base + target}"
        lines.append((out[target], f"v{target} + ({weighted_sum(second, row, number)})"))
    for row, (c, s) in enumerate(system.angles, start=len(system.positions)):
        lines.append((f"turn{row}", weighted_sum(second, row, number)))
        lines.append((f"cos{row}", f"cos(turn{row})"))
        lines.append((f"sin{row}", f"sin(turn{row})"))
        out[c], out[s] = f"v{base + c}", f"v{base + s}"
        lines.append((out[c], f"v{c} * cos{row} - v{s} * sin{row}"))
        lines.append((out[s], f"v{s} * cos{row} + v{c} * sin{row}"))
    return lines, out


def python_source(system: System) -> str:
    """Return a step as a Python function of one row: step(v0, v1, ...) -> next observations."""
    lines, out = step_statements(system, repr)
    count = system.num_obs + system.num_actions
    head = f"def step({', '.join(f'v{i}' for i in range(count))}):"
    body = [f"    {name} = {expression}" for name, expression in lines]
    return "\n".join([head, *body, f"    return ({''.join(f'{o}, ' for o in out)})"])


def features_source(terms: Library, count: int) -> str:
    """Return terms as a Python function of count columns: features(v0, ..., one) -> columns."""
    head = f"def features({', '.join(f'v{i}' for i in range(count))}, one):"
    body = [f"    {name} = {expression}" for name, expression in statements(terms, repr)]
    names = ["one" if t == ONE else _name(t) for t in terms]
    return "\n".join([head, *body, f"    return ({''.join(f'{n}, ' for n in names)})"])
