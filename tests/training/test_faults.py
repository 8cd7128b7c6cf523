"""Faults of a run: where they came, in the words of the message."""

from pathlib import Path

import pytest

from mbrl.errors import BadInput, EnvironmentFault, NumericalFault
from mbrl.training.faults import checkpoint_mismatch, located


@pytest.mark.parametrize(
    "error", [KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError]
)
def test_what_loading_raises_names_the_run_and_the_part(error):
    with pytest.raises(BadInput) as caught, checkpoint_mismatch(Path("runs/a"), "agent"):
        raise error("two\n  lines")
    reason = "'two\\n lines'" if error is KeyError else "two lines"
    assert str(caught.value) == (
        f"runs/a: the checkpoint's agent does not fit config.yaml ({error.__name__}: {reason}); "
        "undo the change of the config, or begin a new run"
    )
    assert isinstance(caught.value.__cause__, error)


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
