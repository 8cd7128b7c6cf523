"""Model error: none of the true model, the drift of one that drifts, that of no change."""

import pytest
import torch

from mbrl.report import k_step_error
from mbrl.types import Prediction, sequences
from tests.toys import ToyEnv, ToyModel, collect, move


def test_the_true_model_has_no_error_and_no_change_has_the_known_one():
    data = collect(ToyEnv(4), 60).all()
    error = k_step_error(ToyModel(), data, horizon=5)
    assert error is not None and error.num_sequences > 100
    assert error.model.max() < 1e-5
    # one step of no change is the spread of the changes themselves
    rows = sequences(data, 5)[:, 0]
    scale = data.obs.std(0, correction=0)
    change = ((data.next_obs - data.obs)[rows] / scale).square().mean().sqrt()
    assert error.no_change[0].item() == pytest.approx(change.item(), rel=1e-5)


def test_a_drifting_model_is_off_by_its_drift():
    class Drifting(ToyModel):
        def step(self, state, action, *, generator=None, with_uncertainty=False):
            after = move(state[:, :2], action)
            steps = state[:, 2:] + 1
            shown = after + 0.1 * steps * scale
            flag = torch.ones(after.shape[0], dtype=torch.bool)
            return torch.cat([after, steps], 1), Prediction(shown, flag.float(), ~flag, flag, None)

        def initial(self, obs, *, num_particles=1, generator=None):
            return torch.cat([obs, torch.zeros_like(obs[:, :1])], 1)

    data = collect(ToyEnv(4), 60).all()
    scale = data.obs.std(0, correction=0)
    error = k_step_error(Drifting(), data, horizon=3)
    assert error is not None
    assert error.model.tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-4)


def test_too_short_episodes_give_no_error_curve():
    assert k_step_error(ToyModel(), collect(ToyEnv(2), 5).all(), horizon=6) is None


def test_many_sequences_are_thinned_evenly():
    data = collect(ToyEnv(4), 60).all()
    whole = k_step_error(ToyModel(), data, horizon=5)
    some = k_step_error(ToyModel(), data, horizon=5, max_sequences=50)
    assert whole is not None and some is not None
    number = whole.num_sequences
    stride = -(-number // 50)
    assert some.num_sequences == -(-number // stride) <= 50
    rows = sequences(data, 5)[::stride]
    gap = (data.obs[rows[:, 0]] - data.next_obs[rows[:, 4]]) / data.obs.std(0, correction=0)
    assert some.no_change[4].item() == pytest.approx(gap.square().mean().sqrt().item(), rel=1e-5)


def test_an_observation_that_never_changes_does_not_count():
    data = collect(ToyEnv(2), 30).all()
    still = data._replace(obs=data.obs.clone(), next_obs=data.next_obs.clone())
    still.obs[:, 1], still.next_obs[:, 1] = 5.0, 5.001
    error, whole = (k_step_error(ToyModel(), x, horizon=1) for x in (still, data))
    assert error is not None and whole is not None
    gap = (data.obs - data.next_obs)[:, 0] / data.obs[:, 0].std(correction=0)
    assert error.no_change.tolist() == pytest.approx([gap.square().mean().div(2).sqrt().item()])
