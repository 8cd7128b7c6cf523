"""Wrong arrays are named by every public call."""

import pytest

from scripts.robustness import wrong_arguments
from scripts.robustness.wrong_arguments import (
    data_calls,
    env_calls,
    model_calls,
    outcomes,
    planner_calls,
    policy_calls,
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


@pytest.mark.parametrize(
    "calls",
    [data_calls, planner_calls, env_calls]
    + [pytest.param(calls, marks=pytest.mark.slow) for calls in (model_calls, policy_calls)],
)
def test_wrong_arrays_are_named_and_right_ones_converted(calls):
    results = list(outcomes(calls()))
    assert len(results) > 50
    assert [result for result in results if result.verdict] == []


@pytest.mark.slow
def test_every_dynamics_model_is_tried():
    tried = {call.name.split(".")[0] for call in model_calls()}
    assert tried >= {name for name in wrong_arguments.names("dynamics") if name != "simulator"}
