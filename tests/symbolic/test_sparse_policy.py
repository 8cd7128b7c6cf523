"""Sparse policies: code and formulas give the same actions."""

import ctypes
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.dynamics.sindy.kernel import find_compiler
from mbrl.errors import BadInput
from mbrl.symbolic import SparsePolicy
from mbrl.types import ActionSpec
from tests.toys import ACTION, TASK, generator


def student(**options):
    return SparsePolicy(obs_dim=2, action=ACTION, task=TASK, **options)


def test_discrete_actions_are_refused():
    discrete = ActionSpec("discrete", torch.zeros(2), torch.ones(2), 2)
    with pytest.raises(BadInput, match="continuous"):
        SparsePolicy(obs_dim=2, action=discrete, task=TASK)


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 2))
@settings(max_examples=10)
def test_exported_code_says_what_the_policy_does(seed, degree, acts):
    draws = generator(seed)
    action = ActionSpec("continuous", torch.tensor([-1.0, -2.5][:acts]), torch.ones(acts))
    policy = SparsePolicy(obs_dim=3, action=action, task=TASK._replace(obs_names=None),
                          degree=degree)  # fmt: skip
    weights = torch.randn(policy.weights.shape, generator=draws, dtype=torch.float64)
    policy.weights.copy_(weights * (torch.rand(weights.shape, generator=draws) < 0.4))
    obs = torch.randn(20, 3, generator=draws, dtype=torch.float64)
    expected = policy.select(obs)
    place: dict = {}
    exec(policy.source("python"), place)
    found = torch.tensor([place["policy"](row.tolist()) for row in obs])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_exported_c_compiles_and_says_the_same(tmp_path):
    policy = student()
    policy.weights[0, [0, 1, 4, 8]] = torch.tensor([0.1, -1.0, 0.5, 2.0], dtype=torch.float64)
    source = policy.source("c")
    assert "include" not in source and source.count("\n") < 20
    compiler = find_compiler()
    assert compiler, "the tests of compiled code need a C compiler"
    (tmp_path / "policy.c").write_text(source)
    library = tmp_path / "policy.so"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "policy.c", "-o", str(library)]
    subprocess.run(command, check=True, cwd=tmp_path)
    call = ctypes.CDLL(str(library)).policy
    rows = np.random.default_rng(0).normal(size=(20, 2))
    for row in rows:
        out = np.zeros(1)
        call(ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        expected = policy.select(torch.from_numpy(row)[None])[0].numpy()
        np.testing.assert_allclose(out, expected, rtol=1e-6)
