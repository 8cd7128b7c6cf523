"""Systems whose steps are known: PySINDy's, and one by hand."""

import numpy as np
import pysindy

from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.library import Library, Term

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
