"""Libraries of terms: which there are, in which order, and what they are worth."""

import numpy as np
import torch

from mbrl.dynamics.sindy.library import (
    ONE,
    Library,
    Term,
    build_library,
    fourier,
    polynomial,
    reduce_circles,
    rename,
)
from mbrl.dynamics.sindy.settings import LibrarySettings

NAMES = ["x", "y", "u"]


def names(**settings) -> list[str]:
    return build_library(LibrarySettings(**settings), 2, 1).names(NAMES)


def test_libraries_are_sums_and_products():
    a, b = polynomial([0, 1], 1), Library([Term((2,))])
    assert (a | b).names(["x", "y", "u"]) == ["1", "x", "y", "u"]
    assert (a @ b).names(["x", "y", "u"]) == ["u", "x u", "y u"]
    wave = Library([Term((), (("sin", 2, 1),))])
    product = (b @ wave)[0]
    assert product.text(["x", "y", "u"]) == "u sin(2 y)"
    columns = [torch.tensor([0.3]), torch.tensor([0.5]), torch.tensor([2.0])]
    value = Library([product]).evaluate(columns)
    torch.testing.assert_close(value, torch.tensor([[2 * np.sin(1.0)]], dtype=torch.float32))


def test_actions_enter_linearly_unless_they_are_variables_like_others():
    assert names(degree=1) == ["1", "x", "y", "u", "x u", "y u"]
    assert names(degree=2) == [
        *("1", "x", "y", "u", "x^2", "x y", "y^2", "x u", "y u"),
        *("x^2 u", "x y u", "y^2 u"),
    ]
    whole = names(degree=2, affine=False)
    assert whole == ["1", "x", "y", "u", "x^2", "x y", "x u", "y^2", "y u", "u^2"]


def test_without_interaction_no_variables_are_mixed():
    alone = names(degree=3, interaction=False, affine=False)
    assert alone == ["1", "x", "y", "u", "x^2", "y^2", "u^2", "x^3", "y^3", "u^3"]


def test_waves_are_added_or_multiplied():
    waves = [f"{f}({k}{v})" for k in ("", "2 ") for v in "xy" for f in ("sin", "cos")]
    added = names(degree=1, frequencies=2)
    assert set(added) == {"1", "x", "y", "u", "x u", "y u", *waves, *(f"u {w}" for w in waves)}
    multiplied = names(degree=1, frequencies=1, products=True)
    assert "x sin(y)" in multiplied and "x u cos(x)" in multiplied
    assert "x sin(y)" not in names(degree=1, frequencies=1)


def test_the_simplest_terms_come_first():
    library = build_library(LibrarySettings(degree=3, frequencies=2, products=True), 2, 1)
    degrees = [term.degree() for term in library]
    assert degrees == sorted(degrees) and library[0] == ONE
    assert len(set(library)) == len(library)


def test_on_a_circle_higher_powers_of_the_sine_are_left_out():
    library = reduce_circles(polynomial([0, 1], 3), [(0, 1)])
    assert library.names("cs") == ["1", "c", "s", "c^2", "c s", "c^3", "c^2 s"]


def test_variables_are_renamed_in_powers_and_waves():
    library = rename(Library([Term((0, 1)), *fourier([1], 1, cos=False)]), [2, 0])
    assert library.names(NAMES) == ["x u", "sin(x)"]


def test_terms_are_evaluated_on_columns():
    columns = [torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])]
    library = Library([ONE, Term((0, 0, 1)), Term((1,), (("cos", 2, 0),))])
    expected = np.array([[1, 2.0, 0.5 * np.cos(4)], [1, 3.0, 3 * np.cos(-2)]])
    np.testing.assert_allclose(library.evaluate(columns), expected, rtol=1e-6)
