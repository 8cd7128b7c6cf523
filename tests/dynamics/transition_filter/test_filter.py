"""The transition filter: its base where there is no choice, else the best of the candidates."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.agents import MPC, Dyna
from mbrl.dynamics import (
    BayesianPolynomialReward,
    CandidateGenerator,
    DistilledReward,
    EnsembleTraining,
    GaussianEnsemble,
    RewardConsistent,
)
from mbrl.dynamics.transition_filter.base import DynamicsReward, PointwiseReward
from mbrl.dynamics.transition_filter.christoffel import ChristoffelReward
from mbrl.errors import BadInput
from mbrl.imagination.rollout import rollout
from mbrl.learners import SAC
from mbrl.planners import CEM, ICEM, MPPI, UPMPC
from mbrl.types import Transitions
from tests.toys import ACTION, TASK, ToyDynamics, ToyEnv, collect, generator, move

SHAPE = {"obs_dim": 2, "action": ACTION, "task": TASK}
SMALL = {
    "hidden": 16,
    "num_layers": 2,
    "training": EnsembleTraining(min_updates=50, max_updates=100),
}


def ensemble() -> GaussianEnsemble:
    return GaussianEnsemble(**SHAPE, generator=generator(1), **SMALL)


def candidates(kind="wide", **options) -> CandidateGenerator:
    settings = {"hidden": 16, "num_updates": 100}
    return CandidateGenerator(
        **SHAPE, generator=generator(2), kind=kind, holdout_ensemble=settings, **options
    )


def build(base=None, reward=None, kind="wide", num_samples=10, **options) -> RewardConsistent:
    return RewardConsistent(
        **SHAPE,
        base=base or ensemble(),
        dynamics_reward=reward or ChristoffelReward(obs_dim=2, action=ACTION, degrees=(1, 2)),
        candidates=candidates(kind, num_samples=num_samples),
        generator=generator(3),
        **options,
    )


@pytest.fixture(scope="module")
def data() -> Transitions:
    return collect(ToyEnv(4), 150).all()


@pytest.fixture(scope="module")
def fitted(data) -> RewardConsistent:
    model = build()
    model.fit(data, generator=generator(4))
    return model


@pytest.fixture(scope="module")
def near(data) -> RewardConsistent:
    model = build(reward=Near())
    model.fit(data, generator=generator(4))
    return model


class Near(PointwiseReward):
    """Reward closeness to the true successor."""

    def fit(self, data, model, *, holdout_ensemble, generator):
        return {}

    def reward(self, obs, action, next_obs):
        return -(next_obs - move(obs, ACTION.clip(action))).norm(dim=1)


def test_one_candidate_is_the_base_bit_for_bit(data):
    alone, filtered = ensemble(), build(kind="plain", num_samples=1)
    metrics = [m.fit(data, generator=generator(4)) for m in (alone, filtered)]
    assert metrics[0] == metrics[1]
    for seed in (5, None):
        draws = [None if seed is None else generator(seed) for _ in range(2)]
        states = [
            m.initial(data.obs[:8], num_particles=3, generator=g)
            for m, g in zip((alone, filtered), draws, strict=True)
        ]
        for step in range(5):
            action = data.action[step : step + 24]
            (states[0], a), (states[1], b) = (
                m.step(s, action, generator=g, with_uncertainty=True)
                for m, s, g in zip((alone, filtered), states, draws, strict=True)
            )
            assert all(x.equal(y) for x, y in zip(a, b, strict=True))
            assert states[0].obs.equal(states[1].inner.obs)
            assert states[0].members == states[1].inner.members
    actions = ACTION.sample(2 * 3 * 4, generator=generator(6)).view(2, 3, 4, 1)
    values = [
        rollout(m, m.initial(data.obs[:2], generator=generator(7)), actions, generator=generator(8))
        for m in (alone, filtered)
    ]
    assert values[0].value.equal(values[1].value)
    several = [
        m.candidates(m.initial(data.obs[:3]), data.action[:3], 4, generator=generator(9))[1]
        for m in (alone, filtered)
    ]
    assert several[0].next_obs.equal(several[1].next_obs)


@pytest.mark.parametrize("kind", ["plain", "wide", "search"])
def test_the_choice_has_the_best_score(data, kind):
    model = build(reward=Near(), kind=kind, stop_rate=0.0)
    model.fit(data, generator=generator(4))
    obs, action = data.obs[:50], data.action[:50]
    true = move(obs, ACTION.clip(action))
    state = model.initial(obs)
    _, pred = model.step(state, action, generator=generator(5))
    wrong = (pred.next_obs - true).norm(dim=1)
    _, plain = model.base.candidates(state.inner, action, 10, generator=generator(5))
    best = (plain.next_obs.view(10, 50, 2) - true).norm(dim=-1).min(0).values
    assert wrong.mean() <= 1.2 * best.mean()
    if kind == "search":
        assert wrong.mean() < 0.2 * best.mean()
    assert model.step(state, action)[1].next_obs.equal(model.step(state, action)[1].next_obs)


@pytest.mark.parametrize("base", [ensemble, ToyDynamics], ids=["ensemble", "any"])
def test_any_dynamics_can_be_filtered(data, base):
    model = build(base=base(), reward=Near())
    model.fit(data, generator=generator(4))
    state, pred = model.step(model.initial(data.obs), data.action, generator=generator(5))
    assert state.obs.equal(pred.next_obs)
    expected = TASK.reward(data.obs, data.action, pred.next_obs)  # pyright: ignore
    torch.testing.assert_close(pred.reward, expected)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_better_candidates_come_first(near, seed, num):
    obs = torch.randn(6, 2, generator=generator(seed))
    action = ACTION.sample(6, generator=generator(seed))
    state = near.initial(obs)
    following, pred = near.candidates(state, action, num, generator=generator(seed))
    reward = near.dynamics_reward.reward(obs.repeat(num, 1), action.repeat(num, 1), pred.next_obs)
    ordered = reward.view(num, 6)
    assert (ordered[:-1] >= ordered[1:] - 1e-6).all()
    first = near.step(state, action, generator=generator(seed))[1].next_obs
    assert first.equal(pred.next_obs[:6]) and following.obs.equal(pred.next_obs)


def test_the_stop_rate_calibrated_on_data_is_that_of_true_transitions():
    given = collect(ToyEnv(4), 1000).all()
    model = build(calibration="data")
    model.fit(given, generator=generator(4))
    held = collect(ToyEnv(4), 500, seed=9).all()
    low = model.dynamics_reward.reward(held.obs, held.action, held.next_obs) < model.threshold
    assert 0.03 <= low.float().mean().item() <= 0.07


@pytest.mark.parametrize("calibration", ["data", "selected"])
def test_a_threshold_of_selected_candidates_is_lower_than_one_of_the_truth(calibration):
    """No prediction is as good as clean data are."""
    given = collect(ToyEnv(4), 1000).all()
    model = build(calibration=calibration, reward=Near())
    model.fit(given, generator=generator(4))
    held = collect(ToyEnv(4), 500, seed=9).all()
    state = model.initial(held.obs)
    share = model.step(state, held.action, generator=generator(5))[1].valid.float().mean().item()
    assert 0.9 < share < 0.99 if calibration == "selected" else share < 0.1


def test_a_step_below_the_threshold_is_not_valid_but_no_termination(data):
    class Never(Near):
        def reward(self, obs, action, next_obs):
            return super().reward(obs, action, next_obs) - 100.0 * (obs[:, 0] > 0)

    result = {}
    for below_threshold in ("truncate", "penalize"):
        model = build(reward=Never(), below_threshold=below_threshold, penalty=7.0)
        model.fit(data, generator=generator(4))
        model.threshold.fill_(-50.0)
        state = model.initial(data.obs)
        result[below_threshold] = model.step(state, data.action, generator=generator(5))[1]
    low = data.obs[:, 0] > 0
    cut, charged = result["truncate"], result["penalize"]
    assert cut.valid.equal(~low) and charged.valid.all()
    assert cut.terminated.equal(charged.terminated), "a filtered step is no terminal"
    torch.testing.assert_close(cut.reward - charged.reward, 7.0 * low)


@pytest.mark.parametrize("reward", [Near(), BayesianPolynomialReward(obs_dim=2, action=ACTION)])
def test_what_is_valid_reaches_the_threshold(data, reward):
    """Also where scores are not the rewards."""
    model = build(reward=reward)
    model.fit(data, generator=generator(4))
    state = model.initial(data.obs)
    after = model.step(state, data.action, generator=generator(5))[1].next_obs
    rewards = model.dynamics_reward.reward(data.obs, data.action, after)
    model.threshold.copy_(torch.quantile(rewards, 0.3001))  # between two rows
    valid = model.step(state, data.action, generator=generator(5))[1].valid
    assert valid.equal(rewards >= model.threshold) and valid.float().mean() > 0.6


def test_a_softmax_prefers_the_better_and_is_drawn_from_the_generator(data):
    model = build(reward=Near(), temperature=1.0)
    model.fit(data, generator=generator(4))
    state = model.initial(data.obs)

    def error(seed, temperature):
        model._temperature = temperature
        after = model.step(state, data.action, generator=generator(seed))[1].next_obs
        return (after - move(data.obs, ACTION.clip(data.action))).norm(dim=1).mean(), after

    (best, _), (soft, first), (flat, _) = error(1, 0.0), error(1, 0.3), error(1, 100.0)
    assert best < soft < flat
    assert error(1, 0.3)[1].equal(first) and not error(2, 0.3)[1].equal(first)


class Fixed(DynamicsReward):
    """Scores of three candidates that are always the same."""

    needs_member_means = False

    def fit(self, data, model, *, holdout_ensemble, generator):
        return {}

    def score(self, obs, action, candidates, *, generator=None):
        return torch.tensor([[0.0], [0.0], [3.0]]).expand(3, len(obs))


def test_a_softmax_chooses_by_the_probabilities_of_standardized_scores(data):
    model = build(reward=Fixed(), kind="plain", num_samples=3, temperature=0.7)
    model.base.fit(data, generator=generator(4))
    obs, action = data.obs[:1].expand(4000, -1), data.action[:1].expand(4000, -1)
    state = model.initial(obs)
    several = model.base.candidates(state.inner, action, 3, generator=generator(5))[1].next_obs
    chosen = model.step(state, action, generator=generator(5))[1].next_obs
    counts = (several.view(3, 4000, 2) == chosen).all(-1).float().mean(1)
    expected = torch.softmax(torch.tensor([0.0, 0.0, 3.0]) / 2**0.5 / 0.7, 0)  # deviation 2^.5
    torch.testing.assert_close(counts, expected, atol=0.03, rtol=0)


def test_a_simulator_is_refused(data):
    base = ToyDynamics()
    base.learned = False
    with pytest.raises(BadInput, match="simulator is never wrong"):
        build(base=base)


def test_saved_filters_choose_the_same(data):
    def make():
        teacher = ChristoffelReward(obs_dim=2, action=ACTION, degrees=(1, 2))
        reward = DistilledReward(
            obs_dim=2, action=ACTION, generator=generator(5), teacher=teacher, num_updates=50
        )
        return build(reward=reward)

    one, two = make(), make()
    one.fit(data, generator=generator(4))
    two.load_state_dict(one.state_dict())
    after = [
        m.step(m.initial(data.obs), data.action, generator=generator(6))[1] for m in (one, two)
    ]
    assert all(a.equal(b) for a, b in zip(after[0][:4], after[1][:4], strict=True))


def test_checkpoints_of_the_last_release_are_loaded(fitted):
    """Their keys have the old names of the parts."""
    old = {
        key.replace("dynamics_reward.", "judge.")
        .replace("candidate_generator.", "pool.")
        .replace("holdout_ensemble.", "edges."): value
        for key, value in fitted.state_dict().items()
    }
    assert any(key.startswith("pool.edges.") for key in old)
    other = build()
    other.load_state_dict(old)
    new = other.state_dict()
    assert all(new[key].equal(value) for key, value in fitted.state_dict().items())


def test_it_composes_with_mbpo_and_coplanner():
    real = collect(ToyEnv(4), 40)
    for planned, drop in ((False, False), (True, False), (False, True)):
        model = build()
        learner = SAC(obs_dim=2, action=ACTION, generator=generator(1), hidden=16, batch_size=32)
        options = {}
        if planned:
            options["rollout_actions"] = UPMPC(
                dynamics=model,
                learner=learner,
                action=ACTION,
                generator=generator(2),
                horizon=2,
                num_candidates=3,
            )
        agent = Dyna(
            action=ACTION,
            dynamics=model,
            learner=learner,
            generator=generator(3),
            learning_starts=30,
            num_rollouts=50,
            rollout_length=(0, 1, 5, 5),
            updates_per_step=1,
            drop_invalid=drop,
            **options,
        )
        metrics = agent.update(real)
        assert metrics["model/alive"] < 1
        imagined = agent.branched_rollouts.buffer.all()  # pyright: ignore
        assert imagined.truncated.any() != drop, "a filtered step is truncated, or dropped"
        true_ends = TASK.terminated(imagined.obs, imagined.action, imagined.next_obs)  # pyright: ignore
        assert imagined.terminated.equal(true_ends), "a filtered step was taken for an end"


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI])
def test_it_composes_with_planners(fitted, planner):
    plans = planner(action=ACTION, horizon=3, num_samples=10, num_iterations=2)
    agent = MPC(action=ACTION, dynamics=fitted, planner=plans, generator=generator(1))
    agent._num_transitions = 10_000
    action = agent.act(torch.zeros(3, 2), explore=True)
    assert action.shape == (3, 1) and (action.abs() <= 1).all()
