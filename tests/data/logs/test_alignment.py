"""Actions that are recorded off by one row are seen, and no others."""

import numpy as np
import pytest

from mbrl.data.logs.alignment import best_shift, describe_shift
from tests.data.logs.systems import record

SYSTEMS = ("linear", "cart", "pendulum")


def shift_of(system, *args, **kwargs):
    return best_shift(record(system, *args, **kwargs), (0,) if system == "pendulum" else ())


@pytest.mark.parametrize("kind", ["white", "smooth", "sines", "held", "feedback"])
def test_no_false_alarm_in_100_systems_recorded_as_they_should_be(kind):
    for seed in range(100):
        system = SYSTEMS[seed % 3]
        noise = (0.0, 0.1, 0.3)[seed // 3 % 3]
        assert shift_of(system, kind, seed, noise=noise, rows=150) == 0, (system, noise, seed)


def test_noise_that_a_controller_passes_on_is_seldom_taken_for_a_shift():
    """The next action then holds the noise of the next observation, as a shifted one would."""
    alarms = [
        shift_of("cart", "noisy feedback", seed, noise=2.0, process=0.005) for seed in range(40)
    ]
    assert sum(alarm != 0 for alarm in alarms) <= 1


def test_what_is_explained_but_for_rounding_is_no_alarm():
    for seed in range(60):
        assert shift_of("linear", "sines", seed, process=0.0, rows=100) == 0, seed


@pytest.mark.parametrize("shift", [-1, 1])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_shift_of_white_noise_is_always_seen(system, shift):
    for seed in range(20):
        for noise in (0.0, 0.1):
            assert shift_of(system, "white", seed, shift=shift, noise=noise) == shift, seed


def test_smooth_actions_recorded_a_row_early_are_seen():
    assert [shift_of("cart", "smooth", seed, shift=-1) for seed in range(10)] == [-1] * 10


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_units_do_not_matter(scale):
    for shift in (-1, 0, 1):
        runs = record("linear", "white", 1, shift=shift)
        assert best_shift([(obs * scale, a / scale) for obs, a in runs], ()) == shift


def test_short_constant_and_exact_data_are_no_alarm():
    assert best_shift([(np.zeros((3, 1)), np.zeros((2, 1)))], ()) == 0
    assert (
        best_shift([(np.zeros((200, 1)), np.random.default_rng(0).normal(size=(199, 1)))], ()) == 0
    )
    ramp = np.linspace(0, 1, 200)[:, None]
    assert best_shift([(ramp, np.sin(ramp[1:]))], ()) == 0


def test_the_sentence_says_what_mends_it():
    assert describe_shift(record("cart", "white", 0), ()) == []
    (note,) = describe_shift(record("cart", "white", 0, shift=1), ())
    assert "next row" in note and note.endswith("action_shift=1 mends it.")
