"""Sparse equations as text, LaTeX and SymPy."""

import numpy as np
import pytest
import sympy

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy.equations import Equation, equations, latex_name
from mbrl.dynamics.sindy.library import ONE, Term
from tests.toys import ACTION, TASK, ToyEnv, collect, generator


@pytest.fixture(scope="module")
def toy():
    data = collect(ToyEnv(4), 200).all()
    model = SINDy(obs_dim=2, action=ACTION, task=TASK)
    return model, data, model.fit(data, generator=generator(1))


def test_equations_as_sympy_and_latex(toy):
    model, data, _ = toy
    first, second = equations(model)
    v, u = sympy.symbols("velocity u", real=True)
    assert sympy.simplify(second.sympy(4) - (0.3 * u - 0.1 * v)) == 0
    assert second.latex(2) == (
        r"\mathrm{velocity}' - \mathrm{velocity} = 0.3 \mathrm{u} - 0.1 \mathrm{velocity}"
    )
    values = {"position": data.obs[:, 0], "velocity": data.obs[:, 1], "u": data.action[:, 0]}
    expression = first.sympy()
    symbols = sorted(expression.free_symbols, key=str)
    made = sympy.lambdify(symbols, expression, "numpy")(*(values[str(s)].numpy() for s in symbols))
    change = (data.next_obs - data.obs)[:, 0].numpy()
    np.testing.assert_allclose(made, change, atol=1e-5)


def test_signs_powers_and_constants_are_written():
    terms = ((-0.5, ONE), (2.0, Term((0, 0))), (-1.25, Term((1,), (("sin", 2, 0),))))
    equation = Equation("x'", terms, ("x", "u"))
    assert equation.text() == "x' = -0.5 + 2 x^2 - 1.25 u sin(2 x)"
    assert Equation("x'", (), ("x",)).text() == "x' = 0"
    x, u = sympy.symbols("x u", real=True)
    assert sympy.simplify(equation.sympy(3) - (2 * x**2 - 1.25 * u * sympy.sin(2 * x) - 0.5)) == 0


def test_names_stand_upright():
    assert latex_name("joint_1' - a") == r"\mathrm{joint\_1}' - \mathrm{a}"
