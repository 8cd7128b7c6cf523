"""A simulation as a VecEnv: seeds, limits, checks."""

import numpy as np
import pytest
import torch
from gymnasium.utils import seeding

import mbrl
from mbrl.envs import SimulatedVecEnv, Simulation, task_outcome
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.types import Task
from tests.toys import generator


@pytest.mark.parametrize("id", ["Hopper-v5", "Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_action_is_named(id, value):
    env = mbrl.make_vec(id, num_envs=3)
    env.reset(0)
    env.step(torch.zeros(3, env.action.dim))
    action = torch.zeros(3, env.action.dim)
    action[2, 0] = value
    with pytest.raises(BadInput, match=r"action: shape \(3, \d\), row 2 should be finite"):
        env.step(action)


def test_actions_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 2\) should be \(2, 3\)"):
        mbrl.make_vec("Hopper-v5", num_envs=2).step(torch.zeros(3, 2))


class Counting(Simulation):
    """Each environment counts its steps from a random start; it terminates at 0.95 or more."""

    obs_dim, max_episode_steps = 1, 4
    low, high = np.array([-1.0], np.float32), np.array([1.0], np.float32)
    task = Task()

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.state = np.zeros((num_envs, 1))

    def start(self, indices, generators):
        for i, draws in zip(indices, generators, strict=True):
            self.state[i] = draws.uniform()
        return self.state[indices]

    def advance(self, action):
        self.state = self.state + action
        return self.state.copy(), self.state[:, 0].copy(), self.state[:, 0] >= 0.95

    def get_state(self):
        return self.state.copy()

    def set_state(self, state):
        self.state = state.copy()

    def simulate(self, state, action, *, with_state=False):
        raise NotImplementedError

    def close(self):
        pass


def test_environment_i_is_seeded_with_seed_plus_i_as_in_gymnasium():
    env = SimulatedVecEnv(Counting(3), seed=5, dtype=torch.float64)
    expected = [seeding.np_random(5 + i)[0].uniform() for i in range(3)]
    assert env.reset()[:, 0].tolist() == expected
    later = env.reset()[:, 0].tolist()  # without a seed the generators go on
    assert later != expected and env.reset(5)[:, 0].tolist() == expected


def test_those_that_end_are_reset_in_the_same_step_and_show_the_true_successor():
    env = SimulatedVecEnv(Counting(2), dtype=torch.float64)
    env.reset(0)
    env.simulation.set_state(np.array([[0.9], [0.1]]))
    step = env.step(torch.tensor([[0.1], [0.1]]))
    assert step.next_obs[:, 0].tolist() == pytest.approx([1.0, 0.2])
    assert step.terminated.tolist() == [True, False] and not step.truncated.any()
    assert step.obs[0] != step.next_obs[0] and step.obs[1] == step.next_obs[1]
    assert step.reward.tolist() == pytest.approx([1.0, 0.2])
    env.simulation.set_state(np.array([[0.1], [0.1]]))
    still = torch.zeros(2, 1)
    ends = [env.step(still).truncated.tolist() for _ in range(4)]  # the first began a step later
    assert ends == [[False, False], [False, False], [False, True], [True, False]]


def test_a_start_that_is_not_finite_is_named_by_its_environment():
    class Bad(Counting):
        def start(self, indices, generators):
            return np.full((len(indices), 1), np.nan if indices == [2] else 0.0)

    env = SimulatedVecEnv(Bad(3), dtype=torch.float64)
    env.reset(0)
    env.simulation.set_state(np.array([[0.0], [0.0], [0.9]]))
    with pytest.raises(EnvironmentFault, match="environment 2, step 1: a NaN in the observation"):
        env.step(torch.full((3, 1), 0.1))


def test_a_restored_environment_goes_on_bit_for_bit():
    one, other = (SimulatedVecEnv(Counting(3), dtype=torch.float64) for _ in range(2))
    one.reset(1)
    draws = generator(0)
    actions = [torch.rand(3, 1, generator=draws) / 2 for _ in range(20)]
    for action in actions[:7]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    for action in actions[7:]:
        for a, b in zip(one.step(action), other.step(action), strict=True):
            assert a.equal(b)


def test_a_tasks_own_functions_give_reward_and_termination():
    task = Task(
        reward=lambda obs, action, next_obs: obs[:, 0] + 10 * action[:, 0] + 100 * next_obs[:, 0],
        terminated=lambda obs, action, next_obs: next_obs[:, 0] > 2,
    )
    obs, action, after = np.array([[1.0], [2.0]]), np.array([[0.1], [0.2]], np.float32), None
    after = np.array([[2.0], [3.0]])
    reward, terminated = task_outcome(task, obs, action, after)
    assert reward.dtype == np.float64 and reward.tolist() == pytest.approx([202, 304])
    assert terminated.tolist() == [False, True]
    reward, terminated = task_outcome(task._replace(terminated=None), obs, action, after)
    assert terminated.tolist() == [False, False]


def test_unroll_is_the_former_name_of_simulate():
    env = mbrl.make_vec("Pendulum-v1", num_envs=2)
    env.reset(0)
    actions = torch.zeros(2, 3, 1)
    with pytest.warns(DeprecationWarning, match="unroll is now simulate"):
        former, _ = env.unroll(env.env_state(), actions)
    assert former.next_obs.equal(env.simulate(env.env_state(), actions)[0].next_obs)


def test_each_environment_can_have_a_seed_of_its_own():
    env = mbrl.make_vec("Hopper-v5", num_envs=2, dtype=torch.float64)
    heights = [1.24736811, 1.25397214]  # gymnasium's, of seeds 3 and 7
    for seed in ([3, 7], (3, 7), np.array([3, 7])):
        np.testing.assert_allclose(env.reset(seed)[:, 0], heights, rtol=0, atol=1e-8)
    after = env.reset([3, None])
    assert after[0, 0].item() == pytest.approx(heights[0], abs=1e-8) != after[1, 0].item()
    assert env.reset(np.int64(3)).equal(env.reset(3)) and not env.reset().equal(env.reset(3))


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: mbrl.make_vec("Pendulum-v1", seed=-3),
            "seed=-3: should be a whole number, at least 0",
        ),
        (lambda: mbrl.make_vec("Pendulum-v1").reset(3.5), "seed=3.5: should be a whole number"),
        (lambda: mbrl.make_vec("Pendulum-v1").reset("a"), "seed='a': should be a whole number"),
        (lambda: mbrl.make_vec("Pendulum-v1").reset([1, 2]), "seed: 2 seeds, .* num_envs=1"),
        (
            lambda: mbrl.make_vec("Hopper-v5", dtype="float32"),
            "dtype=float32: should be torch.float32",
        ),
        (lambda: mbrl.make_vec("Hopper-v5", dtype=torch.int32), "dtype=torch.int32: should be"),
        (lambda: mbrl.make_vec("Hopper-v5", device="gpu"), "device='gpu': should be cpu, cuda"),
    ],
)
def test_what_it_cannot_use_is_named(make, words):
    with pytest.raises(BadInput, match=words):
        make()


def test_a_state_of_other_environments_is_refused():
    env = mbrl.make_vec("Hopper-v5", num_envs=2)
    for name, count in (("Walker2d-v5", 2), ("Hopper-v5", 1)):
        other = mbrl.make_vec(name, num_envs=count)
        other.reset(0)
        with pytest.raises(ValueError, match="state: its simulation is of shape"):
            env.load_state_dict(other.state_dict())
