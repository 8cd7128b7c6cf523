"""Candidates of each kind, known from a model that says what it is asked for."""

import pytest
import torch

from mbrl.dynamics import CandidateGenerator, GaussianEnsemble
from mbrl.errors import BadInput
from mbrl.types import Prediction, Task
from tests.dynamics.transition_filter.cases import parabola
from tests.toys import ACTION, TASK, ToyEnv, collect, generator

MEANS = torch.tensor([1.0, 2.0, 6.0])  # of three members


class Model:
    """Members whose means are 1, 2 and 6, and samples 10 above."""

    def __init__(self):
        self.asked = []

    def candidates(self, state, action, num, *, generator):
        self.asked.append((num, generator is not None))
        rows = len(state)
        next_obs = MEANS.repeat(num)[:num, None].expand(num, rows).reshape(-1, 1)
        if generator is not None:
            next_obs = next_obs + 10
        odd = torch.arange(num).repeat_interleave(rows) == 1
        return state, Prediction(next_obs, -next_obs[:, 0], odd, ~odd, None)


def generate(kind, *, seed=1, with_means=True, score=None, fit=False, task=TASK, **options):
    made = CandidateGenerator(
        obs_dim=1,
        action=ACTION,
        task=task,
        generator=generator(2),
        kind=kind,
        num_samples=2,
        num_means=3,
        holdout_ensemble={"hidden": 8, "num_updates": 50},
        **options,
    )
    if fit:
        made.fit(parabola(), with_holdout_ensemble=True, generator=generator(3))
    model, obs = Model(), torch.zeros(4, 1)
    result = made.generate(
        model,
        obs,
        obs,
        torch.zeros(4, 1),
        score,
        generator=None if seed is None else generator(seed),
        with_means=with_means,
    )
    return made, model, result


def column(result):
    """The candidates of each row are the same here."""
    next_obs = result.candidates.next_obs
    assert next_obs.shape[1:] == (4, 1) and (next_obs == next_obs[:, :1]).all()
    return next_obs[:, 0, 0].tolist()


def test_plain_candidates_are_samples_beside_the_means():
    _, model, result = generate("plain")
    assert column(result) == [11, 12]
    assert result.candidates.member_means[:, 0, 0].tolist() == [1, 2, 6]
    assert result.reward[:, 0].tolist() == [-11, -12]
    assert result.terminated[:, 0].tolist() == [False, True]
    assert result.valid[:, 0].tolist() == [True, False]
    assert model.asked == [(3, False), (2, True)]


def test_plain_candidates_need_no_means_unless_the_reward_reads_them():
    _, model, result = generate("plain", with_means=False)
    assert column(result) == [11, 12] and model.asked == [(2, True)]


def test_without_a_generator_plain_candidates_are_the_means():
    assert column(generate("plain", seed=None)[2]) == [1, 2, 6]


def test_wide_candidates_go_beyond_the_means():
    made, _, result = generate("wide", spread=(-1.0, 2.0), fit=True)
    members = made.holdout_ensemble.predict(torch.zeros(4, 1), torch.zeros(4, 1))[:, 0, 0]
    expected = [1, 2, 6, 11, 12, 3, 5, 4, 0, -1, 1, 9, *members.tolist()]
    assert column(result) == pytest.approx(expected)
    own, others = result.reward[:5, 0].tolist(), result.reward[5:, 0]
    assert own == [-1, -2, -6, -11, -12] and (others == -3).all()
    assert result.terminated[:5, 0].tolist() == [False, True, False, False, True]
    assert not result.terminated[5:].any() and result.valid[5:].all()  # what most means say


def test_the_polynomial_is_one_candidate_more_or_the_only_one():
    made, _, result = generate("polynomial", fit=True)
    assert made.polynomial is not None
    expected = made.polynomial.predict(torch.zeros(4, 1), torch.zeros(4, 1))[:, 0]
    assert column(result) == expected[:1].tolist() and abs(expected[0]) < 1e-3
    more = generate("wide", fit=True, polynomial=True)[2].candidates.next_obs
    assert len(more) == len(generate("wide", fit=True)[2].candidates.next_obs) + 1
    torch.testing.assert_close(more[-1, :, 0], expected)


def test_a_search_finds_the_best_score():
    def score(candidates):
        return -(candidates.next_obs[..., 0] - 4.25).abs()

    for seed in (1, None):
        _, _, result = generate("search", seed=seed, score=score, num_iterations=20)
        assert (result.candidates.next_obs - 4.25).abs().max() < 0.01
        assert len(result.candidates.next_obs) == 1 and (result.reward == -3).all()


def test_what_is_not_the_models_own_is_projected():
    task = Task(project=lambda obs: obs.clamp(max=2.5))
    result = generate("wide", spread=(2.0,), task=task)[2].candidates.next_obs[:, 0, 0]
    assert result[:5].tolist() == [1, 2, 6, 11, 12] and result[5:].max() == 2.5


def test_an_ensemble_returns_means_and_samples_from_one_evaluation(monkeypatch):
    model = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(1), hidden=8, num_layers=1
    )
    made = CandidateGenerator(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(2), kind="plain"
    )
    data = collect(ToyEnv(2), 10).all()
    state = model.initial(data.obs)
    expected = model.candidates_with_means(state, data.action, 10, 5, generator=generator(3))[1]
    monkeypatch.setattr(GaussianEnsemble, "candidates", None)
    result = made.generate(model, state, data.obs, data.action, lambda c: c, generator=generator(3))
    both = torch.cat([result.candidates.member_means, result.candidates.next_obs])
    assert both.flatten(0, 1).equal(expected.next_obs)


def test_unknown_or_wrong_settings_of_the_holdout_ensemble_are_refused():
    for settings, match in (({"hiden": 8}, "hiden"), ({"hidden": 0}, "hidden=0: should be")):
        with pytest.raises(BadInput, match=f"^holdout_ensemble=.*{match}"):
            CandidateGenerator(
                obs_dim=1,
                action=ACTION,
                task=TASK,
                generator=generator(),
                holdout_ensemble=settings,
            )
