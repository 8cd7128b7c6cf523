"""The clock of a plan: counts iterations, and starts none that would end too late."""

import pytest

from mbrl.planners.clock import Clock


@pytest.fixture
def now(monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr("mbrl.planners.clock.time.monotonic", lambda: seconds[0])
    return seconds


def test_without_a_deadline_all_iterations_are_counted(now):
    clock = Clock(None)
    for index in clock.iterations(3):
        now[0] += 10 * (index + 1)
    assert clock.info() == {"iterations": 3, "latency": 60.0} and not clock.is_over()


@pytest.mark.parametrize(("deadline", "expected"), [(0.0, 1), (2.5, 2), (3.0, 3), (100.0, 5)])
def test_no_iteration_starts_that_would_end_too_late(now, deadline, expected):
    clock = Clock(deadline)
    for _ in clock.iterations(5):
        now[0] += 1
    assert clock.info()["iterations"] == expected and clock.is_over() == (deadline < expected)


def test_the_slowest_iteration_counts(now):
    clock = Clock(10.0)
    for index in clock.iterations(5):
        now[0] += 6 if index == 0 else 1
    assert clock.info()["iterations"] == 1  # another one of 6 seconds would end at 12
