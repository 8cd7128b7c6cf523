"""Freed buffers stay with the process."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys
import numpy as np
from mbrl.nn.memory import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else "")
def use():
    return [np.ones(300_000) for _ in range(4)]  # 2.4 MB each
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments, **environment):
    command = [sys.executable, "-c", FAULTS, *arguments]
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=inherited | environment
    )
    answer, number = done.stdout.splitlines()
    return answer, int(number)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_buffers_that_are_freed_at_each_step_are_not_mapped_anew():
    answer, number = faults("keep")
    assert answer == "True" and number < 500
    kept, many = faults("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert kept == "False" and many > 50 * 500  # the user's own setting stands
