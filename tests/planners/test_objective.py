"""The objective: returns against a plain rollout, terminal values, and returns that are no use."""

import pytest
import torch

from mbrl.errors import NumericalFault
from mbrl.imagination.rollout import rollout
from mbrl.planners import Objective
from mbrl.types import Prediction
from tests.toys import ACTION, ToyModel, generator


class Valued(ToyModel):
    def terminal_value(self, obs):
        return 100 + obs[:, 0]


def setting():
    obs = torch.rand(2, 2, generator=generator(1))
    return obs, torch.rand(2, 3, 4, 1, generator=generator(2))


def test_returns_are_those_of_the_rollout():
    obs, candidates = setting()
    objective = Objective(ACTION, num_particles=2, action_hold=3, discount=0.9)
    state = ToyModel().initial(obs, num_particles=2)
    expected = rollout(ToyModel(), state, candidates, num_particles=2, hold=3, discount=0.9).value
    assert objective(ToyModel(), state, candidates, generator=None).equal(expected)
    assert objective.num_envs(state) == 2 and objective.num_envs(((state, 1), 2)) == 2


def test_the_models_own_terminal_value_counts_unless_another_is_given():
    obs, candidates = setting()
    plain = Objective(ACTION)(ToyModel(), obs, candidates, generator=None)
    own = Objective(ACTION)(Valued(), obs, candidates, generator=None)
    assert ((own - plain - 100).abs() < 3).all()
    given = Objective(ACTION, terminal_value=lambda obs: 7 + 0 * obs[:, 0])
    torch.testing.assert_close(given(Valued(), obs, candidates, generator=None), plain + 7)


def pays(*rewards):
    class Model(ToyModel):
        def step(self, state, action, **options):
            reward = torch.tensor(rewards).repeat(len(state) // len(rewards))
            never = torch.zeros(len(state), dtype=torch.bool)
            return state, Prediction(state, reward, never, ~never, None)

    return Model()


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ((0.0, float("nan")), "return of NaN"),
        ((float("inf"), 0.0), "return of inf"),
        ((-float("inf"), -float("inf")), "every plan a return of -inf"),
    ],
)
def test_returns_that_are_no_use_name_the_environment(rewards, message):
    candidates = torch.zeros(1, 2, 1, 1)
    with pytest.raises(NumericalFault, match=f"environment 0: .*{message}"):
        Objective(ACTION)(pays(*rewards), torch.zeros(1, 2), candidates, generator=None)


def test_some_candidates_may_be_ruled_out_and_all_if_allowed():
    candidates, obs = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2)
    some = Objective(ACTION)(pays(-float("inf"), 1.0), obs, candidates, generator=None)
    assert some.tolist() == [[-float("inf"), 1]]
    nothing = pays(-float("inf"), -float("inf"))
    Objective(ACTION)(nothing, obs, candidates, generator=None, all_may_fail=True)
