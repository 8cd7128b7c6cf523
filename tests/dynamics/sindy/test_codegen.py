"""Generated code: every back end gives what PySINDy gives."""

import copy

import numpy as np
import pysindy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy.codegen import System, python_source
from mbrl.dynamics.sindy.library import Library, Term, polynomial
from mbrl.dynamics.sindy.predictor import Predictor

P, F = pysindy.PolynomialLibrary, pysindy.FourierLibrary
LIBRARIES = {
    "quadratic": lambda: P(2),
    "cubic without bias": lambda: P(3, include_bias=False),
    "no interaction": lambda: P(3, include_interaction=False),
    "interaction only": lambda: P(2, interaction_only=True),
    "fourier": lambda: F(2),
    "sines": lambda: F(1, include_cos=False),
    "sum": lambda: P(2) + F(1),
    "product": lambda: P(1) * F(1),
    "affine": lambda: pysindy.GeneralizedLibrary(
        [P(2), P(1, include_bias=False)],
        tensor_array=[[1, 1]],
        inputs_per_library=[[0, 1, 2], [3]],
    ),
}


def random_model(name: str, seed: int, density: float = 0.4):
    """A DiscreteSINDy of 3 observations and 1 action with random coefficients."""
    draws = np.random.default_rng(seed)
    model = pysindy.DiscreteSINDy(feature_library=LIBRARIES[name]())
    rows = draws.normal(size=(40, 4))
    model.fit(rows[:, :3], 1.0, x_next=rows[:, :3], u=rows[:, 3:], feature_names=list("abcu"))
    shape = model.coefficients().shape
    model.optimizer.coef_ = draws.normal(size=shape) * (draws.random(shape) < density)
    return model


def worst(found, expected) -> float:
    return float(np.abs(np.asarray(found) - expected).max() / max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", LIBRARIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.sampled_from([1, 3, 70, 5000]))
def test_prediction_equals_pysindys(name, seed, batch):
    reference = random_model(name, seed)
    model = SINDy.from_pysindy(reference)
    draws = np.random.default_rng(seed + 1)
    obs, action = draws.normal(size=(batch, 3)), draws.normal(size=(batch, 1))
    expected = np.asarray(reference.predict(obs, u=action))
    predictor = model.steps.predictor
    assert worst(predictor.numpy(obs, action), expected) < 1e-12
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        rows = torch.from_numpy(obs).to(dtype), torch.from_numpy(action).to(dtype)
        pred = model.steps(*rows)
        assert pred.dtype == dtype
        exact = np.asarray(reference.predict(rows[0].double().numpy(), u=rows[1].double().numpy()))
        assert worst(pred, exact) < tolerance
        members = model.steps.by_blocks(*rows, [0])
        assert worst(members, exact) < tolerance


STRUCTURED = System(
    4,
    1,
    True,
    (3,),
    Library([Term((1,)), Term((4,)), Term((2, 3))]),
    np.array([[0.75, 0.15, -0.1]]),
    (2,),
    ((0, 1),),
    Library([Term((3,)), Term((8,))]),
    np.array([[0.02, 0.03], [0.0, 0.05]]),
)  # cos, sin, position, speed


def step_by_hand(obs, u):
    c, s, x, v = obs.T
    speed = v + 0.75 * s + 0.15 * u - 0.1 * x * v
    turn = 0.05 * speed
    return np.stack(
        [
            c * np.cos(turn) - s * np.sin(turn),
            s * np.cos(turn) + c * np.sin(turn),
            x + 0.02 * v + 0.03 * speed,
            speed,
        ],
        1,
    )


def test_every_back_end_moves_a_structured_system_alike():
    obs = np.random.default_rng(1).normal(size=(200, 4))
    action = np.random.default_rng(2).normal(size=(200, 1))
    expected = step_by_hand(obs, action[:, 0])
    plain = Predictor(STRUCTURED)
    assert worst(plain.numpy(obs, action), expected) < 1e-14
    assert worst(plain.numpy(obs[:1], action[:1]), expected[:1]) < 1e-14
    tensors = torch.from_numpy(obs), torch.from_numpy(action)
    assert worst(plain.torch(*tensors), expected) < 1e-14
    compiled = Predictor(STRUCTURED, compile=True)
    assert worst(compiled.numpy(obs, action), expected) < 1e-14
    assert worst(compiled.torch(*tensors), expected) < 1e-14
    assert worst(copy.deepcopy(compiled).torch(*tensors), expected) < 1e-14


def test_gradients_are_right_also_beside_a_kernel():
    obs = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    action = torch.full((5, 1), 0.3, dtype=torch.float64)
    for compile in (False, True):
        predictor = Predictor(STRUCTURED, compile=compile)
        inputs = obs.clone().requires_grad_(), action.clone().requires_grad_()
        assert torch.autograd.gradcheck(predictor.torch, inputs)


@pytest.mark.parametrize("compile", [False, True])
def test_a_system_without_actions(compile):
    reference = pysindy.DiscreteSINDy(feature_library=P(2))
    rows = np.random.default_rng(3).normal(size=(50, 2))
    reference.fit(rows, 1.0, x_next=np.sin(rows))
    model = SINDy.from_pysindy(reference)
    assert model.act_dim == 0
    predictor = Predictor(model.system(), compile=compile)
    expected = np.asarray(reference.predict(rows))
    assert worst(predictor.numpy(rows), expected) < 1e-12
    tensors = torch.from_numpy(rows), torch.empty(50, 0, dtype=torch.float64)
    assert worst(predictor.torch(*tensors), expected) < 1e-12


def test_results_go_where_they_are_wanted():
    obs, action = np.ones((3, 4)), np.ones((3, 1))
    out = np.zeros((3, 4))
    assert Predictor(STRUCTURED).numpy(obs, action, out) is out
    assert worst(out, step_by_hand(obs, action[:, 0])) < 1e-14


def test_only_active_terms_are_in_the_code():
    weights = np.zeros((2, 6))
    weights[0, 1], weights[1, 5] = 2.0, -3.0
    source = python_source(System(2, 0, False, (0, 1), polynomial([0, 1], 2), weights))
    assert "v0 * v0" not in source and "v1 * v1" in source
    assert source.count("=") == 3  # the square and two equations
