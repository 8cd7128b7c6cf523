"""Checks of every step: shapes of actions, finite numbers, named by environment and step."""

import numpy as np
import pytest
import torch

import mbrl
from mbrl.envs import GymnasiumVecEnv
from mbrl.envs.guards import action_array, check_finite
from mbrl.errors import BadInput, EnvironmentFault


def test_actions_keep_their_type_and_may_be_numpy():
    array = action_array(np.ones((2, 3)), 2, 3)
    assert array.dtype == np.float64 and array.shape == (2, 3)
    assert action_array(torch.ones(2, 3, requires_grad=True), 2, 3).dtype == np.float32
    assert action_array([[1.0], [2.0]], 2, 1).tolist() == [[1], [2]]
    for wrong in (np.ones((3, 2)), torch.ones(3), torch.ones(2, 3, 1)):
        with pytest.raises(BadInput, match=r"action: shape \(.*\) should be \(2, 3\)"):
            action_array(wrong, 2, 3)


@pytest.mark.parametrize("make", [mbrl.make_vec, GymnasiumVecEnv])
def test_environments_take_numpy_actions(make):
    one, other = (make("Pendulum-v1", num_envs=2) for _ in range(2))
    assert one.reset(0).equal(other.reset(0))
    action = np.array([[0.5], [-0.3]])
    a, b = one.step(action), other.step(torch.from_numpy(action).float())
    assert a.next_obs.equal(b.next_obs)


@pytest.mark.parametrize(
    ("value", "named"), [(np.nan, "a NaN"), (-np.inf, "an infinity"), (1e39, "an infinity")]
)
def test_the_first_row_that_is_not_finite_is_named(value, named):
    values = np.zeros((3, 2))
    values[1, 1] = values[2, 0] = value
    largest = float(np.finfo(np.float32).max)
    with pytest.raises(EnvironmentFault, match=f"environment 1, step 7: {named} in the reward"):
        check_finite("reward", values, largest, 7)
    with pytest.raises(EnvironmentFault, match="environment 5, step 7"):
        check_finite("reward", values[:, 1], largest, 7, [4, 5, 6])
    check_finite("reward", values[:1], largest, 7)


@pytest.mark.filterwarnings("error")
def test_an_infinity_of_a_small_format_is_named_and_whole_numbers_are_finite():
    values = np.array([[1.0], [np.inf]], dtype=np.float16)
    with pytest.raises(EnvironmentFault, match="environment 1, step 2: an infinity in the action"):
        check_finite("action", values, float(np.finfo(np.float32).max), 2)
    check_finite("action", np.array([3, 2**40]), 1.0, 2)
