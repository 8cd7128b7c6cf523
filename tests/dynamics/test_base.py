"""What models share, and a whole new model of `fit` and `step`."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from mbrl.dynamics import MarkovDynamics, candidates_of, complete_prediction
from mbrl.dynamics.base import Belief, assign_members
from mbrl.errors import BadInput
from mbrl.imagination.rollout import rollout
from mbrl.types import Prediction, Task
from tests.toys import ACTION, TASK, ToyEnv, collect, generator, move, reward


class LinearDynamics(MarkovDynamics):
    """Linear model of the change of obs."""

    def __init__(self, *, obs_dim: int, act_dim: int, task: Task, noise: float = 0.0):
        super().__init__()
        self.task, self._noise = task, noise
        self.register_buffer("matrix", torch.zeros(obs_dim + act_dim, obs_dim))

    def fit(self, data, *, generator):
        x = torch.cat([data.obs, data.action], 1)
        self.matrix.copy_(torch.linalg.lstsq(x, data.next_obs - data.obs).solution)
        error = x @ self.matrix - (data.next_obs - data.obs)
        return {"model/holdout_mse": error.square().mean().item()}

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        next_obs = state.obs + torch.cat([state.obs, action], 1) @ self.matrix
        if generator is not None:
            next_obs = next_obs + self._noise * torch.randn(next_obs.shape, generator=generator)
        prediction = complete_prediction(self.task, state.obs, action, next_obs)
        return Belief(prediction.next_obs, state.members), prediction


class Follows(LinearDynamics):
    """A model whose prediction is the number of the member that a row follows."""

    particle_members = (3, 5, 8)


@pytest.fixture(scope="module")
def linear() -> LinearDynamics:
    model = LinearDynamics(obs_dim=2, act_dim=1, task=TASK, noise=0.1)
    model.fit(collect(ToyEnv(4), 50).all(), generator=generator())
    return model


def test_a_model_of_fit_and_step_predicts_and_is_rolled_out(linear):
    obs, action = torch.rand(6, 2, generator=generator(1)), torch.ones(6, 1)
    _, prediction = linear.step(linear.initial(obs), action)
    torch.testing.assert_close(prediction.next_obs, move(obs, action), atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.reward, reward(obs, action, prediction.next_obs))
    assert prediction.valid.all() and not prediction.terminated.any()
    values = rollout(linear, linear.initial(obs), torch.zeros(6, 4, 3, 1)).value
    assert values.shape == (6, 4)
    with pytest.raises(BadInput, match="LinearDynamics predicts no uncertainty"):
        linear.uncertainty(obs, action)


def test_a_belief_starts_and_moves_particle_by_particle():
    model = Follows(obs_dim=2, act_dim=1, task=TASK)
    obs = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert model.initial(obs, num_particles=3).members == ()  # no generator: the mean
    state = model.initial(obs, num_particles=3, generator=generator())
    assert state.obs.tolist() == [[0, 1], [2, 3]] * 3 and state.members == (3, 5, 8)
    moved = model.observe(state, torch.zeros(2, 1), obs + 1)
    assert moved.obs.equal((obs + 1).repeat(3, 1)) and moved.members == state.members


@pytest.mark.parametrize(
    ("rows", "particles", "blocks"),
    [(10, 1, 3), (2, 1, 2), (4, 3, 3), (4, 6, 3), (4, 4, 4), (4, 2, 2), (1, 7, 7)],
)
def test_members_are_shared_out_evenly_in_whole_particles(rows, particles, blocks):
    members = assign_members((3, 5, 8), rows, particles, generator=generator(2))
    assert len(members) == blocks and list(members) == sorted(members)
    counts = Counter(members)
    assert set(counts) <= {3, 5, 8} and max(counts.values()) <= -(-blocks // 3)


def test_which_members_are_left_out_is_random():
    chosen = {assign_members(range(4), 9, 2, generator=generator(seed)) for seed in range(50)}
    assert len(chosen) == 6  # every pair of four


def test_a_prediction_is_completed_by_what_the_task_knows():
    obs, action = torch.zeros(3, 2), torch.zeros(3, 1)
    next_obs = torch.tensor([[1.0, 0.0], [4.0, 0.0], [-4.0, 0.0]])
    known = complete_prediction(TASK, obs, action, next_obs)
    assert known.terminated.tolist() == [False, True, True]
    torch.testing.assert_close(known.reward, reward(obs, action, next_obs))
    half = TASK._replace(project=lambda x: x / 2)  # reward and end are of the projected successor
    assert complete_prediction(half, obs, action, next_obs).next_obs.equal(next_obs / 2)
    assert not complete_prediction(half, obs, action, next_obs).terminated.any()
    learned = complete_prediction(
        Task(), obs, action, next_obs, reward=obs[:, 0] + 7, ends=lambda x: x[:, 0] > 2
    )
    assert learned.reward.tolist() == [7, 7, 7]
    assert learned.terminated.tolist() == [False, True, False]
    nothing = complete_prediction(Task(), obs, action, next_obs, reward=obs[:, 0])
    assert not nothing.terminated.any() and nothing.valid.all() and nothing.uncertainty is None
    with pytest.raises(BadInput, match="reward: this task knows no reward"):
        complete_prediction(Task(), obs, action, next_obs)


def test_a_model_without_candidates_is_stepped_for_each(linear):
    obs, action = torch.rand(3, 2, generator=generator(3)), torch.ones(3, 1)
    state = linear.initial(obs)
    following, prediction = candidates_of(linear, state, action, 4, generator=generator(5))
    draws = generator(5)
    steps = [linear.step(state, action, generator=draws)[1].next_obs for _ in range(4)]
    assert prediction.next_obs.equal(torch.cat(steps)) and following.obs.equal(torch.cat(steps))
    assert prediction.uncertainty is None and not steps[0].equal(steps[1])
    _, still = candidates_of(linear, state, action, 2, generator=None)
    assert still.next_obs.equal(linear.step(state, action)[1].next_obs.repeat(2, 1))


def test_a_models_own_candidates_are_asked_for():
    class Offers:
        def candidates(self, state: Tensor, action, num, *, generator):
            rows = state.repeat(num, 1)
            return rows, Prediction(rows, rows[:, 0], rows[:, 0] > 0, rows[:, 0] > 0, None)

    _, prediction = candidates_of(Offers(), torch.ones(2, 1), ACTION, 3, generator=None)
    assert prediction.next_obs.shape == (6, 1)
