"""Faults of a run: where they came, in the words of the message."""

from pathlib import Path

import pytest
import torch

from mbrl.dynamics import SINDy
from mbrl.errors import BadInput, EnvironmentFault, NumericalFault
from mbrl.training.counters import TrainingCounters
from mbrl.training.faults import checkpoint_mismatch, load_part, located, restore_loop
from mbrl.training.run_folder import RunFolder
from mbrl.types import ActionSpec, Task


@pytest.mark.parametrize(
    "error", [KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError]
)
def test_what_loading_raises_names_the_run_and_the_part(error):
    with pytest.raises(BadInput) as caught, checkpoint_mismatch(Path("runs/a"), "agent"):
        raise error("two\n  lines")
    reason = "no entry 'two\\n lines'" if error is KeyError else f"{error.__name__}: two lines"
    assert str(caught.value) == (
        f"runs/a: the checkpoint's agent does not fit ({reason}); an older version of dynaplan "
        "saved it, or config.yaml was changed: fit again in a new run, or undo the change"
    )
    assert isinstance(caught.value.__cause__, error)


def module(width, *buffers):
    made = torch.nn.Sequential(torch.nn.Linear(width, 2))
    for name in buffers:
        made.register_buffer(name, torch.zeros(3))
    return made


@pytest.mark.parametrize(
    "saved, now, said",
    [
        (module(3), module(4), "0.weight is (2, 3), not (2, 4)"),
        (module(3), module(3, "a"), "missing a"),
        (module(3), module(3, "a", "b", "c", "d"), "missing a, b and 2 more"),
        (module(3, "a"), module(3), "unexpected a"),
        (module(3, "a"), module(4, "b"), "missing b; unexpected a; 0.weight is (2, 3), not (2, 4)"),
    ],
)
def test_another_state_of_a_module_is_told_by_names_and_shapes(saved, now, said):
    with pytest.raises(BadInput) as caught, checkpoint_mismatch(Path("run"), "agent"):
        now.load_state_dict(saved.state_dict())
    assert f"run: the checkpoint's agent does not fit (Sequential: {said});" in str(caught.value)


def test_equations_of_an_older_version_are_to_be_fitted_again():
    action = ActionSpec.box([-1.0], [1.0])
    model = SINDy(obs_dim=2, action=action, task=Task())
    state = model.state_dict()
    for name in ("steps.weights", "steps.form", "worse_than_no_change"):
        del state[name]
    state["steps.members"] = state["steps.members"][:, :1]
    with pytest.raises(BadInput) as caught, checkpoint_mismatch(Path("run"), "agent"):
        model.load_state_dict(state)
    message = str(caught.value)
    assert "(SINDy: missing worse_than_no_change, steps.weights and 1 more; steps.mem" in message
    assert "an older version of dynaplan saved it" in message and "fit again" in message
    assert "\n" not in message and len(message) < 400


def test_a_long_reason_is_cut_off():
    with pytest.raises(BadInput) as caught, checkpoint_mismatch(Path("run"), "env"):
        raise RuntimeError("x" * 1000)
    assert "x" * 200 in str(caught.value) and "x" * 201 not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [BadInput("as it is"), EnvironmentFault("as it is", index=0, step=3), OSError("as it is")],
)
def test_what_names_its_cause_already_passes(error):
    with pytest.raises(type(error)) as caught, checkpoint_mismatch(Path("run"), "agent"):
        raise error
    assert caught.value is error


def test_a_numerical_fault_says_after_how_much():
    with pytest.raises(NumericalFault) as caught, located(7):
        raise NumericalFault("the loss is nan")
    assert str(caught.value) == "the loss is nan (after 7 transitions)"


def test_an_environments_fault_keeps_its_place():
    with (
        pytest.raises(EnvironmentFault) as caught,
        located(40, "in the evaluation ", "updates"),
    ):
        raise EnvironmentFault("a NaN", index=1, step=7)
    assert str(caught.value) == (
        "environment 1, step 7: a NaN (in the evaluation after 40 updates)"
    )
    assert (caught.value.index, caught.value.step) == (1, 7)


def test_other_errors_and_none_pass():
    with pytest.raises(KeyError, match="other"), located(1):
        raise KeyError("other")
    with located(1), checkpoint_mismatch(Path("run"), "agent"):
        pass


class Part:
    """A part with one tensor, which torch would cast."""

    def __init__(self):
        self.weight = torch.zeros(2)

    def state_dict(self):
        return {"layers": [{"weight": self.weight}]}

    def load_state_dict(self, state):
        self.weight.copy_(state["layers"][0]["weight"])


def test_a_tensor_that_would_be_cast_is_refused_by_its_name():
    for kind in (torch.float64, torch.float16, torch.int64):
        state = {"layers": [{"weight": torch.ones(2, dtype=kind)}]}
        with pytest.raises(BadInput, match=f"agent/layers/0/weight is {kind}, and should be"):
            load_part(Path("run"), "agent", Part(), state)
    load_part(Path("run"), "agent", Part(), {"layers": [{"weight": torch.ones(2)}]})


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 10**30}, {"step": -1}, {"step": "x"}, {"step": 5}, {"episode": 3},
        {"returns": torch.zeros(7)}, {"evaluations": [[3, ["<b>"]]]}, {"evaluations": [[3, []]]},
        {"recent": [["a", 1]]}, {"spent": {"cpu": 0.0}}, {"pending": {"x": "y"}},
        {"next_episode": None},
    ],
)  # fmt: skip
def test_counters_that_no_run_counts_are_refused(tmp_path, changes):
    run, counters = RunFolder.create(tmp_path / "run", {}), TrainingCounters(2)
    loop = {"progress": {**counters.state_dict(), **changes}, "log_position": 0}
    with pytest.raises(BadInput, match="the checkpoint's loop does not fit"):
        restore_loop(run, loop, TrainingCounters(2))
    right = {"progress": counters.state_dict(), "log_position": 0}
    assert restore_loop(run, right, TrainingCounters(2)) == 0
    for position in (-1, 1.5, "5", None):
        with pytest.raises(BadInput, match="is no length"):
            restore_loop(run, {**right, "log_position": position}, TrainingCounters(2))
