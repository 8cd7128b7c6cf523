"""Thread with a time limit."""

import copy
import time

import pytest

from mbrl.envs.time_limit import Hang, LimitedThread


def test_work_is_run_and_what_it_raises_is_handed_on():
    thread, done = LimitedThread(5.0), []
    for i in range(20):
        thread.run(lambda i=i: done.append(i))
    assert done == list(range(20))

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        thread.run(fail)
    thread.run(lambda: done.append(20))
    assert done[-1] == 20


def test_work_that_hangs_is_given_up():
    with pytest.raises(Hang):
        LimitedThread(0.2).run(lambda: time.sleep(5))


def test_a_copy_has_a_thread_of_its_own():
    thread, done = LimitedThread(5.0), []
    thread.run(lambda: done.append(1))
    other = copy.deepcopy(thread)
    thread.close()
    other.run(lambda: done.append(2))
    assert done == [1, 2]
