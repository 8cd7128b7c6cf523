"""The C kernel predicts what PySINDy does; without a compiler the array code is used."""

import numpy as np
import pytest
import torch

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy import kernel
from mbrl.dynamics.sindy.kernel import find_compiler
from mbrl.dynamics.sindy.predictor import Predictor
from tests.dynamics.sindy.systems import STRUCTURED, random_model, step_by_hand, worst


@pytest.mark.parametrize("name", ["quadratic", "product", "affine"])
def test_the_kernel_equals_pysindy(name):
    reference = random_model(name, 9)
    compiled = Predictor(SINDy.from_pysindy(reference).system(), compile=True)
    assert (compiled.kernel is None) == (find_compiler() is None)
    for batch in (1, 63, 64, 65, 1000):
        rows = np.random.default_rng(batch).normal(size=(batch, 4))
        obs, action = rows[:, :3].copy(), rows[:, 3:].copy()
        expected = np.asarray(reference.predict(obs, u=action))
        assert worst(compiled.numpy(obs, action), expected) < 1e-12
        tensors = torch.from_numpy(obs).float(), torch.from_numpy(action).float()
        single = np.asarray(reference.predict(*(t.double().numpy() for t in tensors)))
        assert worst(compiled.torch(*tensors), single) < 1e-5


def test_without_a_compiler_the_array_code_is_used(monkeypatch):
    monkeypatch.setattr(kernel, "find_compiler", lambda: None)
    predictor = Predictor(STRUCTURED, compile=True)
    assert predictor.kernel is None and "no C compiler" in predictor.why_not
    obs, action = np.ones((3, 4)), np.ones((3, 1))
    assert worst(predictor.numpy(obs, action), step_by_hand(obs, action[:, 0])) < 1e-14


def test_a_failing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(kernel, "find_compiler", lambda: "false")
    assert "false failed" in Predictor(STRUCTURED, compile=True).why_not
