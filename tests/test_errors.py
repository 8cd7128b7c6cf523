"""Errors name where and when; this module is light, so that bad input is answered fast."""

import subprocess
import sys

import pytest

from mbrl.errors import BadInput, EnvironmentFault, NumericalFault


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (3, "environment 3, step 17: reward is nan"),
        (0, "environment 0, step 17: reward is nan"),
        (None, "environments, step 17: reward is nan"),
    ],
)
def test_a_fault_of_an_environment_says_where_when_and_what(index, message):
    fault = EnvironmentFault("reward is nan", index=index, step=17)
    assert str(fault) == message
    assert (fault.what, fault.index, fault.step) == ("reward is nan", index, 17)


def test_bad_input_is_a_value_error_and_faults_are_not():
    assert issubclass(BadInput, ValueError)
    for fault in (EnvironmentFault, NumericalFault):
        assert issubclass(fault, RuntimeError) and not issubclass(fault, ValueError)


def test_torch_is_not_imported():
    code = "import sys, mbrl.errors; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_message_is_one_line_whatever_it_quotes():
    fault = EnvironmentFault("raised RuntimeError: motor\n\n  is off\n", index=0, step=1)
    assert str(fault) == "environment 0, step 1: raised RuntimeError: motor is off"
    assert str(BadInput("key=a  b: no\r\nsuch")) == "key=a  b: no such"
    assert str(BadInput("key=a  b")) == "key=a  b"
