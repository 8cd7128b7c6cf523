"""Threads with a time limit."""

import copy
import time

import pytest

from mbrl.envs.workers import DaemonPool, Hang


def test_the_pool_runs_all_jobs_and_hands_on_what_they_raise():
    pool, done = DaemonPool(3), []
    for _ in range(20):
        pool.run([lambda i=i: done.append(i) for i in range(7)])
    assert sorted(done) == sorted(list(range(7)) * 20)

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        pool.run([lambda: None, fail, lambda: None])
    with pytest.raises(Hang) as caught:
        pool.run([lambda: None, lambda: time.sleep(5)], time_limit=0.2)
    assert caught.value.jobs == [1]


def test_a_copy_of_a_pool_has_its_own_threads():
    pool, done = DaemonPool(2), []
    pool.run([lambda: done.append(1)])
    other = copy.deepcopy(pool)
    pool.close()
    other.run([lambda: done.append(2)])
    assert done == [1, 2]
