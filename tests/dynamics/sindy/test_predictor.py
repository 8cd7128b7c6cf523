"""Predictions of every back end: those of PySINDy, and of a structured system by hand."""

import copy
import os
import platform
import subprocess
import sys

import numpy as np
import pysindy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy.codegen import System
from mbrl.dynamics.sindy.kernel import Kernel
from mbrl.dynamics.sindy.library import Library, Term, polynomial
from mbrl.dynamics.sindy.predictor import Predictor, advance
from tests.dynamics.sindy.systems import LIBRARIES, STRUCTURED, P, random_model, step_by_hand, worst


@pytest.mark.parametrize("name", LIBRARIES)
@settings(max_examples=8)
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


def test_rows_beyond_a_chunk_are_predicted_too():
    obs = np.random.default_rng(1).normal(size=(4099, 4))
    action = np.random.default_rng(2).normal(size=(4099, 1))
    expected = step_by_hand(obs, action[:, 0])
    predicted = Predictor(STRUCTURED).numpy(obs, action)
    assert np.abs(predicted - expected).max(1)[[0, 2047, 2048, 4095, 4096, 4098]].max() < 1e-12
    single = Predictor(STRUCTURED).numpy(obs.astype(np.float32), action.astype(np.float32))
    assert single.dtype == np.float32 and worst(single, expected) < 1e-5


def test_what_has_no_equation_stays_as_it_is():
    """Only the second of three observations has an equation; it is zero, then 2."""
    library, rows = polynomial([0, 1, 2], 1), np.arange(12.0).reshape(4, 3)
    for delta, constant, expected in ((True, 0.0, rows[:, 1]), (False, 2.0, np.full(4, 2.0))):
        weights = np.array([[constant, 0, 0, 0]])
        predictor = Predictor(System(3, 0, delta, (1,), library, weights))
        for predicted in (
            predictor.numpy(rows),
            np.concatenate([predictor.numpy(row[None]) for row in rows]),
            predictor.torch(torch.from_numpy(rows), torch.empty(4, 0)).numpy(),
        ):
            assert predicted[:, 1].tolist() == expected.tolist()
            assert (predicted[:, [0, 2]] == rows[:, [0, 2]]).all()


def test_members_are_predicted_at_once():
    """Two members' weights lead: x + 2 x and x - x."""
    system = System(1, 0, True, (0,), Library([Term((0,))]), np.array([[1.0]]))
    obs = torch.tensor([[1.0], [3.0]]).expand(2, 2, 1)
    weights = torch.tensor([2.0, -1.0]).view(2, 1, 1)
    after = advance(
        system, obs, torch.empty(2, 2, 0), [lambda x, one: (x,), lambda *x: ()],
        weights, torch.empty(0, 0),
    )  # fmt: skip
    assert after.tolist() == [[[3.0], [9.0]], [[0.0], [0.0]]]


def test_without_a_compiler_the_reason_is_kept_and_predictions_go_on(monkeypatch):
    def fails(self, system):
        raise OSError("no compiler")

    monkeypatch.setattr(Kernel, "__init__", fails)
    predictor = Predictor(STRUCTURED, compile=True)
    assert predictor.kernel is None and predictor.why_not == "no compiler"
    obs, action = np.ones((3, 4)), np.ones((3, 1))
    assert worst(predictor.numpy(obs, action), step_by_hand(obs, action[:, 0])) < 1e-14


FAULTS = """
import resource
import numpy as np
from mbrl.dynamics.sindy.predictor import Predictor
from tests.dynamics.sindy.systems import STRUCTURED
predictor = Predictor(STRUCTURED, compile=True)
obs, action = np.ones((100_000, 4)), np.ones((100_000, 1))
number = 0
for turn in range(20):
    other = [np.ones(625_000) for _ in range(8)]  # what the caller does between two predictions
    del other
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    result = predictor.numpy(obs, action)
    number += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before if turn > 1 else 0
    del result
print(number)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_the_memory_of_many_rows_is_not_mapped_anew_at_each_prediction():
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 18 * 781 / 5  # a prediction has 781 pages of 4 kB
