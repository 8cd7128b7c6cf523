"""Libraries of candidate terms: what a sparse equation may be made of.

A term is a product of powers of variables and of sines and cosines of multiples of variables; a
library is an ordered tuple of terms. Sums and products of libraries are libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Wave = tuple[Literal["sin", "cos"], int, int]  # function, frequency k, variable v: sin(k v)


class Term(NamedTuple):
    """One candidate: the product of its factors."""

    variables: tuple[int, ...] = ()  # sorted, repeated as often as the power says
    waves: tuple[Wave, ...] = ()  # sorted

    def __mul__(self, other: Term) -> Term:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Multiply two terms."""
        variables = tuple(sorted(self.variables + other.variables))
        return Term(variables, tuple(sorted(self.waves + other.waves)))

    def degree(self) -> int:
        """Count its factors."""
        return len(self.variables) + len(self.waves)

    def factors(self, names: Sequence[str], power: str = "^") -> list[str]:
        """Write its factors, equal variables as powers."""
        found = []
        for v in dict.fromkeys(self.variables):
            count = self.variables.count(v)
            found.append(names[v] if count == 1 else f"{names[v]}{power}{count}")
        for function, k, v in self.waves:
            found.append(f"{function}({names[v] if k == 1 else f'{k} {names[v]}'})")
        return found

    def text(self, names: Sequence[str]) -> str:
        """Write it with variable names; the empty product is 1."""
        return " ".join(self.factors(names)) or "1"


ONE = Term()


class Library(tuple[Term, ...]):
    """An ordered collection of distinct terms."""

    __slots__ = ()

    def __new__(cls, terms: Iterable[Term]) -> Library:
        """Keep the first of equal terms."""
        return super().__new__(cls, dict.fromkeys(terms))

    def __or__(self, other: Library) -> Library:
        """Give the terms of either."""
        return Library([*self, *other])

    def __matmul__(self, other: Library) -> Library:
        """Give all products of a term of each."""
        return Library(a * b for a in self for b in other)

    def evaluate(self, columns: Sequence[Tensor]) -> Tensor:
        """Evaluate every term on columns, one (B,) per variable: (B, num_terms)."""
        return torch.stack(evaluate_terms(self, columns), dim=-1)

    def names(self, variables: Sequence[str]) -> list[str]:
        """Write every term."""
        return [term.text(variables) for term in self]


def evaluate_terms(terms: Sequence[Term], columns: Sequence[Tensor]) -> list[Tensor]:
    """Evaluate terms on columns (B,), sharing what they have in common."""
    known: dict[Term, Tensor] = {}

    def value(term: Term) -> Tensor:
        if term not in known:
            if term.waves:
                rest = Term(term.variables, term.waves[:-1])
                function, k, v = term.waves[-1]
                last = getattr(torch, function)(k * columns[v])
            else:
                rest, last = Term(term.variables[:-1]), columns[term.variables[-1]]
            known[term] = last if rest == ONE else value(rest) * last
        return known[term]

    one = torch.ones_like(columns[0])
    return [one if term == ONE else value(term) for term in terms]


def polynomial(
    variables: Sequence[int], degree: int, *, interaction: bool = True, bias: bool = True
) -> Library:
    """List the monomials up to a degree, in PySINDy's order.

    Args:
        variables: which may occur.
        degree: largest sum of powers.
        interaction: also mix variables.
        bias: begin with 1.
    """
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
    """List sin(k v) and cos(k v) for k = 1 to frequencies, in PySINDy's order."""
    functions: list[Literal["sin", "cos"]] = [*(["sin"] if sin else []), *(["cos"] if cos else [])]  # type: ignore[list-item]
    return Library(
        Term((), ((function, k, v),))
        for k in range(1, frequencies + 1)
        for v in variables
        for function in functions
    )


def control_affine(observed: Library, actions: Sequence[int]) -> Library:
    """Let the actions enter linearly: f(x) + g(x) u, f and g of the observed library."""
    return observed | (observed @ Library(Term((a,)) for a in actions))


def reduce_circles(library: Library, pairs: Sequence[tuple[int, int]]) -> Library:
    """Leave out what c^2 + s^2 = 1 makes redundant: terms with s^2 or more.

    Args:
        library: polynomial terms.
        pairs: (index of c, index of s).
    """
    sines = [sine for _, sine in pairs]
    return Library(t for t in library if all(t.variables.count(s) < 2 for s in sines))


def candidates(
    seen: Sequence[int],
    acted: Sequence[int],
    degree: int,
    *,
    interaction: bool = True,
    frequencies: int = 0,
    products: bool = False,
    affine: bool = True,
) -> Library:
    """Make a library of observations and actions, the simplest terms first.

    Args:
        seen: variables that are observations.
        acted: variables that are actions.
        degree: of the polynomials.
        interaction: whether these mix variables.
        frequencies: sines and cosines of 1, 2, ... times each observation.
        products: also multiply the polynomials by them.
        affine: actions enter linearly, times any term of the observations.
    """
    library = polynomial(seen if affine else [*seen, *acted], degree, interaction=interaction)
    if frequencies:
        waves = fourier(seen, frequencies)
        library = library | (library @ waves if products else waves)
    library = control_affine(library, acted) if affine else library
    return Library(sorted(library, key=Term.degree))


def rename(library: Library, indices: Sequence[int]) -> Library:
    """Replace variable i by indices[i]."""
    return Library(
        Term(
            tuple(sorted(indices[v] for v in term.variables)),
            tuple(sorted((f, k, indices[v]) for f, k, v in term.waves)),
        )
        for term in library
    )
