"""Generated code: each product is written once, and only what is used."""

import numpy as np

from mbrl.dynamics.sindy.codegen import (
    Stage,
    System,
    active,
    features_source,
    python_source,
    statements,
    weighted_sum,
)
from mbrl.dynamics.sindy.library import ONE, Library, Term, polynomial
from tests.dynamics.sindy.systems import STRUCTURED


def test_products_build_on_one_another():
    terms = [ONE, Term((1,)), Term((1, 2, 3)), Term((1, 2))]
    assert statements(terms, repr) == [("t_1_2", "v1 * v2"), ("t_1_2_3", "t_1_2 * v3")]


def test_waves_are_functions_of_multiples():
    double, wave = Term((), (("sin", 2, 0),)), Term((), (("cos", 1, 0),))
    assert statements([double, Term((1,)) * wave], repr) == [
        ("t_sin2_0", "sin(2 * v0)"),
        ("t_cos1_0", "cos(v0)"),
        ("t_1_cos1_0", "v1 * t_cos1_0"),
    ]


def test_right_sides_leave_out_what_is_zero():
    stage = Stage(
        Library([ONE, Term((0,)), Term((0, 1))]),
        np.array([[-0.5, 2, 0], [0, 0, 1 / 3], [0, 0, 0]]),
    )
    sides = [weighted_sum(stage, row, repr) for row in range(3)]
    assert sides == ["-0.5 + 2.0 * v0", "0.3333333333333333 * t_0_1", "0.0"]


def test_terms_that_no_equation_uses_are_dropped():
    library = Library([ONE, Term((0,)), Term((1,))])
    terms, weights = active(library, np.array([[0.0, 0, 3], [1, 0, 0]]))
    assert terms == (ONE, Term((1,))) and weights.tolist() == [[0, 3], [1, 0]]


def test_a_structured_step_as_source():
    assert python_source(STRUCTURED).splitlines() == [
        "def step(v0, v1, v2, v3, v4):",
        "    t_2_3 = v2 * v3",
        "    v8 = v3 + (0.75 * v1 + 0.15 * v4 + -0.1 * t_2_3)",
        "    v7 = v2 + (0.02 * v3 + 0.03 * v8)",
        "    turn1 = 0.05 * v8",
        "    cos1 = cos(turn1)",
        "    sin1 = sin(turn1)",
        "    v5 = v0 * cos1 - v1 * sin1",
        "    v6 = v1 * cos1 + v0 * sin1",
        "    return (v5, v6, v7, v8, )",
    ]


def test_the_second_stage_reads_what_the_first_has_predicted():
    speed, motion = Library([Term((0,))]), Library([Term((1, 3))])
    system = System(
        2, 0, False, (1,), speed, np.array([[2.0]]), (0,), (), motion, np.array([[0.5]])
    )
    assert python_source(system).splitlines()[1:] == [
        "    v3 = 2.0 * v0",
        "    t_1_3 = v1 * v3",
        "    v2 = v0 + (0.5 * t_1_3)",
        "    return (v2, v3, )",
    ]


def test_features_as_source():
    assert features_source(Library([ONE, Term((0, 1)), Term((1,))]), 2).splitlines() == [
        "def features(v0, v1, one):",
        "    t_0_1 = v0 * v1",
        "    return (one, t_0_1, v1, )",
    ]


def test_only_active_terms_are_in_the_code():
    weights = np.zeros((2, 6))
    weights[0, 1], weights[1, 5] = 2.0, -3.0
    source = python_source(System(2, 0, False, (0, 1), polynomial([0, 1], 2), weights))
    assert "v0 * v0" not in source and "v1 * v1" in source
    assert source.count("=") == 3  # the square and two equations
