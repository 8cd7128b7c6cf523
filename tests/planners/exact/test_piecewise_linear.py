"""The model that exact planners plan in: a network and its cost, as any planner sees them."""

from typing import NamedTuple

import numpy as np
import torch

from mbrl.planners.exact.piecewise_linear import Exact, PiecewiseLinearModel, obs_of
from mbrl.relu import Layer, PiecewiseLinearCost, ReluNetwork, Term
from mbrl.roles import HasTerminalValue, Model
from tests.toys import ToyModel

# x' = relu(x + u) and a reward of 2 u, which the cost takes off |x'|; at the end 10 |x|
NETWORK = ReluNetwork(
    (Layer(np.array([[1.0, 1]]), np.zeros(1), np.full(1, 2, np.int8)),),
    np.array([[0.0, 0, 1], [0, 2, 0]]), np.zeros(2), 1,
)  # fmt: skip
COST = PiecewiseLinearCost(
    (
        Term("l1", np.array([[1.0, 0, 0]]), np.zeros(1)),
        Term("linear", np.array([[0.0, -1, 0]]), np.zeros(1)),
    ),
    (Term("l1", np.array([[10.0]]), np.zeros(1)),),
)
MODEL = Exact(NETWORK, COST)


def test_a_step_by_hand():
    state = MODEL.initial(torch.tensor([[1.0], [-3.0]]))
    after, pred = MODEL.step(state, torch.tensor([[0.5], [1.0]]))
    assert after.tolist() == [[1.5], [0]] and after.dtype == torch.float64
    assert pred.next_obs.equal(after) and pred.reward.tolist() == [-1.5 + 1, 2]
    assert not pred.terminated.any() and pred.valid.all() and pred.uncertainty is None
    assert MODEL.terminal_value(after).tolist() == [-15, 0]


def test_states_are_observations_once_for_each_particle():
    obs = torch.tensor([[1.0], [2.0]])
    state = MODEL.initial(obs, num_particles=3)
    assert state[:, 0].tolist() == [1, 2, 1, 2, 1, 2] and state.dtype == torch.float64
    seen = MODEL.observe(state, torch.zeros(2, 1), obs + 5)
    assert seen[:, 0].tolist() == [6, 7, 6, 7, 6, 7] and seen.dtype == torch.float64


def test_roles_are_told_apart():
    assert MODEL.network() is NETWORK and MODEL.cost is COST
    for role in (PiecewiseLinearModel, Model, HasTerminalValue):
        assert isinstance(MODEL, role)
    assert not isinstance(ToyModel(), PiecewiseLinearModel)


def test_a_states_observations_are_found():
    class State(NamedTuple):
        obs: torch.Tensor
        other: torch.Tensor

    obs = torch.ones(2, 1)
    assert obs_of(obs) is obs and obs_of(State(obs, torch.zeros(2))) is obs
