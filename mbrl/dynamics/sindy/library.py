"""Libraries of candidate terms for sparse equations.

A term is a product of powers of variables and of sines and cosines of multiples of variables; a
library is an ordered tuple of terms. Sums and products of libraries are libraries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.sindy.settings import LibrarySettings
from mbrl.errors import BadInput

MAX_TERMS = 20_000  # a fit keeps a square matrix of this size

Wave = tuple[Literal["sin", "cos"], int, int]  # function, frequency k, variable v: sin(k v)


class Term(NamedTuple):
    """Candidate term: a product of factors."""

    variables: tuple[int, ...] = ()  # sorted, repeated as often as the power says
    waves: tuple[Wave, ...] = ()  # sorted

    def __mul__(self, other: Term) -> Term:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the product of two terms."""
        variables = tuple(sorted(self.variables + other.variables))
        return Term(variables, tuple(sorted(self.waves + other.waves)))

    def degree(self) -> int:
        """Return the number of its factors."""
        return len(self.variables) + len(self.waves)

    def factors(self, names: Sequence[str], power: str = "^") -> list[str]:
        """Return its factors as text, equal variables as powers.

        Args:
            names: of the variables.
            power: the sign of a power.
        """
        factors = []
        for v in dict.fromkeys(self.variables):
            count = self.variables.count(v)
            factors.append(names[v] if count == 1 else f"{names[v]}{power}{count}")
        for function, k, v in self.waves:
            factors.append(f"{function}({names[v] if k == 1 else f'{k} {names[v]}'})")
        return factors

    def text(self, names: Sequence[str]) -> str:
        """Return it as text with names of the variables; the empty product is 1."""
        return " ".join(self.factors(names)) or "1"


ONE = Term()


class Library(tuple[Term, ...]):
    """Ordered collection of distinct terms."""

    __slots__ = ()

    def __new__(cls, terms: Iterable[Term]) -> Library:
        """Build it, the first of equal terms counting."""
        return super().__new__(cls, dict.fromkeys(terms))

    def __or__(self, other: Library) -> Library:
        """Return the terms of either."""
        return Library([*self, *other])

    def __matmul__(self, other: Library) -> Library:
        """Return all products of a term of each."""
        return Library(a * b for a in self for b in other)

    def evaluate(self, columns: Sequence[Tensor]) -> Tensor:
        """Compute every term on columns, one (B,) for each variable: (B, num_terms)."""
        return torch.stack(evaluate_terms(self, columns), dim=-1)

    def names(self, variables: Sequence[str]) -> list[str]:
        """Return every term as text, with names of the variables."""
        return [term.text(variables) for term in self]


def evaluate_terms(terms: Sequence[Term], columns: Sequence[Tensor]) -> list[Tensor]:
    """Compute terms on columns (B,), each common factor once."""
    known: dict[Term, Tensor] = {}

    def value(term: Term) -> Tensor:
        if term not in known:
            if term.waves:
                others = Term(term.variables, term.waves[:-1])
                function, k, v = term.waves[-1]
                last = getattr(torch, function)(k * columns[v])
            else:
                others, last = Term(term.variables[:-1]), columns[term.variables[-1]]
            known[term] = last if others == ONE else value(others) * last
        return known[term]

    one = torch.ones_like(columns[0])
    return [one if term == ONE else value(term) for term in terms]


def polynomial(
    variables: Sequence[int], degree: int, *, interaction: bool = True, bias: bool = True
) -> Library:
    """Return the monomials up to a degree, in PySINDy's order.

    Args:
        variables: numbers of the variables.
        degree: largest sum of powers.
        interaction: whether different variables are multiplied.
        bias: whether 1 is the first term.

    Raises:
        BadInput: if there would be more than MAX_TERMS.
    """
    size = math.comb(len(variables) + degree, degree) if interaction else len(variables) * degree
    if size > MAX_TERMS:
        raise BadInput(
            f"degree={degree}: would be {size} terms of {len(variables)} variables, where "
            f"{MAX_TERMS} can be fitted; choose less"
        )
    terms = [ONE] if bias else []
    for d in range(1, degree + 1):
        if interaction:
            terms += [Term(tuple(sorted(c))) for c in combinations_with_replacement(variables, d)]
        else:
            terms += [Term((v,) * d) for v in variables]
    return Library(terms)


def fourier(
    variables: Sequence[int], frequencies: int, *, sin: bool = True, cos: bool = True
) -> Library:
    """Return sin(k v) and cos(k v) for k = 1 to frequencies, in PySINDy's order.

    Args:
        variables: numbers of the variables v.
        frequencies: largest k.
        sin: whether there are sines.
        cos: whether there are cosines.
    """
    functions: list[Literal["sin", "cos"]] = [*(["sin"] if sin else []), *(["cos"] if cos else [])]  # type: ignore[list-item]
    return Library(
        Term((), ((function, k, v),))
        for k in range(1, frequencies + 1)
        for v in variables
        for function in functions
    )


def control_affine(observed: Library, actions: Sequence[int]) -> Library:
    """Return the terms of f(x) + g(x) u, f and g of the observed library and u the actions."""
    return observed | (observed @ Library(Term((a,)) for a in actions))


def reduce_circles(library: Library, pairs: Sequence[tuple[int, int]]) -> Library:
    """Return a library without terms that c^2 + s^2 = 1 makes redundant: those with s^2 or more.

    Args:
        library: polynomial terms.
        pairs: (index of c, index of s).
    """
    sines = [sine for _, sine in pairs]
    return Library(t for t in library if all(t.variables.count(s) < 2 for s in sines))


def build_library(settings: LibrarySettings, obs_dim: int, act_dim: int) -> Library:
    """Return the library of terms over [obs, action] that settings describe, simplest terms first.

    Args:
        settings: which terms.
        obs_dim: number of observations, the first variables.
        act_dim: number of actions, the variables after them.
    """
    observations, actions = range(obs_dim), range(obs_dim, obs_dim + act_dim)
    library = polynomial(
        observations if settings.affine else [*observations, *actions],
        settings.degree,
        interaction=settings.interaction,
    )
    if settings.frequencies:
        waves = fourier(observations, settings.frequencies)
        library = library | (library @ waves if settings.products else waves)
    library = control_affine(library, actions) if settings.affine else library
    return Library(sorted(library, key=Term.degree))


def rename(library: Library, indices: Sequence[int]) -> Library:
    """Return a library with variable i replaced by indices[i]."""
    return Library(
        Term(
            tuple(sorted(indices[v] for v in term.variables)),
            tuple(sorted((f, k, indices[v]) for f, k, v in term.waves)),
        )
        for term in library
    )
