"""Open-loop errors: predictions are made from predictions, along recorded actions."""

import torch

from mbrl.imagination.open_loop import open_loop_errors
from mbrl.types import Prediction, Transitions


class Halves:
    """Predicts obs + action / 2; every row terminates at once and is invalid."""

    def initial(self, obs, *, num_particles=1, generator=None):
        return obs

    def observe(self, state, action, obs, env_state=None):
        return obs

    def step(self, state, action, *, generator=None, with_uncertainty=False):
        obs = state + action / 2
        yes = torch.ones(len(obs), dtype=torch.bool)
        return obs, Prediction(obs, obs[:, 0], yes, ~yes, None)


def test_errors_add_up_along_the_recorded_actions_and_rows_go_on_after_an_end():
    action = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, 0.0])[:, None]  # two episodes of three steps
    after = torch.tensor([1.0, 3.0, 6.0, 4.0, 4.0, 4.0])[:, None]
    before = torch.tensor([0.0, 1.0, 3.0, 0.0, 4.0, 4.0])[:, None]
    never = torch.zeros(6, dtype=torch.bool)
    data = Transitions(before, action, action[:, 0], after, never, never, torch.arange(6) // 3)
    windows = torch.tensor([[0, 1, 2], [3, 4, 5]])
    errors = open_loop_errors(Halves(), data, windows, torch.tensor([2.0]))
    # half of 1, 3, 6 is missed in the first episode, half of 4, 4, 4 in the second
    expected = [((a**2 + 2.0**2) / 2) ** 0.5 / 2 for a in (0.5, 1.5, 3.0)]
    torch.testing.assert_close(errors, torch.tensor(expected))


def test_an_overflow_is_an_infinite_error():
    class Overflows(Halves):
        def step(self, state, action, **options):
            state, prediction = super().step(state, action, **options)
            return state, prediction._replace(next_obs=torch.inf - torch.inf * state)

    obs, never = torch.arange(2.0)[:, None], torch.zeros(2, dtype=torch.bool)
    data = Transitions(obs, obs, obs[:, 0], obs + 1, never, never, torch.zeros(2).long())
    errors = open_loop_errors(Overflows(), data, torch.tensor([[0, 1]]), torch.tensor([2.0]))
    assert errors.tolist() == [torch.inf, torch.inf]
