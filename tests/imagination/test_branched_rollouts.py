"""Branched rollouts: every step of every rollout until it ends, and no step after."""

import pytest
import torch

from mbrl.dynamics import GaussianEnsemble
from mbrl.errors import NumericalFault
from mbrl.imagination import BranchedRollouts
from mbrl.learners import SAC
from tests.no_reads import reads
from tests.toys import (
    ACTION,
    TASK,
    ToyEnv,
    ToyLearner,
    ToyModel,
    ToySelector,
    collect,
    generator,
    toy_penalty,
)


class Narrow(ToyModel):
    """Invalid from position 0.3 on; terminates below -0.3."""

    def step(self, state, action, **kwargs):
        state, pred = super().step(state, action, **kwargs)
        position = pred.next_obs[:, 0]
        return state, pred._replace(valid=position < 0.3, terminated=position < -0.3)


def rollouts(model=None, **options):
    learner = ToyLearner()
    options = {"penalty": None, "num_rollouts": 40, "retain": 1, "drop_invalid": False, **options}
    return BranchedRollouts(
        model or Narrow(), ToySelector(), learner, generator=generator(3), **options
    )


def expected_steps(length):
    """The same rollouts, written as a loop over single rows, in the order of the steps."""
    draws = generator(3)
    real = collect(ToyEnv(2), 60)
    obs = real.sample(40, generator=draws).obs
    alive = [True] * 40
    rows = []
    for _ in range(length):
        if not any(alive):
            break
        action = ToySelector().select(obs, generator=draws)
        after, pred = Narrow().step(obs, action, generator=draws)
        for i in range(40):
            if alive[i]:
                valid, ended = bool(pred.valid[i]), bool(pred.terminated[i])
                rows.append((obs[i], action[i], pred.reward[i], after[i], ended, not valid))
                alive[i] = valid and not ended
        obs = after
    return rows


def test_they_are_those_of_a_plain_loop():
    """Rows after an invalid or terminated step are missing; an invalid one is truncated."""
    branched = rollouts()
    metrics = branched.generate(collect(ToyEnv(2), 60), 6)
    data, expected = branched.buffer.all(), expected_steps(6)
    assert len(branched.buffer) == len(expected) < 6 * 40
    for i, (obs, action, reward, after, ended, invalid) in enumerate(expected):
        torch.testing.assert_close(data.obs[i], obs)
        torch.testing.assert_close(data.action[i], action)
        torch.testing.assert_close(data.reward[i], reward)
        torch.testing.assert_close(data.next_obs[i], after)
        assert data.terminated[i] == ended and data.truncated[i] == invalid
    assert data.truncated.any() and data.terminated.any()
    assert metrics["model/rollout_length"] == 6
    ends = sum(row[4] or row[5] for row in expected)
    assert metrics["model/alive"] == pytest.approx(1 - ends / 40)


def test_invalid_steps_can_be_dropped():
    branched = rollouts(drop_invalid=True)
    branched.generate(collect(ToyEnv(2), 60), 6)
    valid = [row for row in expected_steps(6) if not row[5]]
    data = branched.buffer.all()
    assert len(branched.buffer) == len(valid) and not data.truncated.any()
    torch.testing.assert_close(data.next_obs, torch.stack([row[3] for row in valid]))


def test_the_penalty_is_subtracted_from_the_rewards():
    real = collect(ToyEnv(2), 60)
    plain, charged = rollouts(), rollouts(penalty=toy_penalty)
    plain.generate(real, 3)
    metrics = charged.generate(real, 3)
    data = plain.buffer.all()
    torch.testing.assert_close(charged.buffer.all().reward, data.reward - data.obs.norm(dim=1))
    assert metrics["model/penalty_mean"] > 0


@pytest.mark.parametrize("retain", [1, 3])
def test_the_last_calls_are_retained(retain):
    branched, real = rollouts(ToyModel(), num_rollouts=5, retain=retain), collect(ToyEnv(2), 60)
    sizes = []
    for _ in range(5):
        branched.generate(real, 2)
        sizes.append(len(branched.buffer))
    assert sizes == [10 * min(call, retain) for call in range(1, 6)]
    before = branched.buffer.all()
    branched.generate(real, 3)  # longer rollouts need a larger buffer; old rows are moved to it
    assert branched.buffer.capacity == 15 * retain
    if retain > 1:
        assert branched.buffer.all().obs[: len(before.obs)].equal(before.obs)


def test_saved_rollouts_come_back():
    branched, other = rollouts(), rollouts()
    assert branched.state_dict() is None
    branched.generate(collect(ToyEnv(2), 60), 4)
    other.load_state_dict(branched.state_dict())
    assert other.buffer.all().next_obs.equal(branched.buffer.all().next_obs)
    assert other.buffer.capacity == branched.buffer.capacity
    other.load_state_dict(None)
    assert other.buffer is None


@pytest.mark.parametrize("drop_invalid", [False, True])
def test_on_a_device_they_are_the_same_and_one_read_tells_the_means(monkeypatch, drop_invalid):
    real = collect(ToyEnv(2), 60)
    start = real.sample(40, generator=generator(4))
    monkeypatch.setattr(real, "sample", lambda *_, **__: start)
    options = {"drop_invalid": drop_invalid, "penalty": toy_penalty, "retain": 2}
    here, there = rollouts(**options), rollouts(**options)
    for _ in range(5):  # the ring of two calls is full in the third, and goes on over its end
        expected = here.generate(real, 4)
        with monkeypatch.context() as patch, reads(patch) as found:
            metrics = there.generate(real, 4)
            assert found == ["tolist"]
        assert metrics == pytest.approx(expected)
    assert here.buffer is not None and there.buffer is not None
    assert len(there.buffer) == len(here.buffer)
    assert there.buffer.num_added == here.buffer.num_added > here.buffer.capacity / 2
    for one, other in zip(here.buffer.all(), there.buffer.all(), strict=True):
        assert one.equal(other)


def test_on_a_device_the_model_and_the_policy_of_mbpo_read_nothing_in_them(monkeypatch):
    model = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=0, num_members=3, num_elites=2, hidden=8
    )
    learner = SAC(obs_dim=2, action=ACTION, generator=0, hidden=8)
    branched = BranchedRollouts(
        model, learner, learner, penalty=None, num_rollouts=50, retain=1, drop_invalid=False,
        generator=generator(3),
    )  # fmt: skip
    real = collect(ToyEnv(2), 60)
    with reads(monkeypatch) as found:
        branched.generate(real, 3)
        assert found == ["tolist"]


def test_a_nan_of_the_model_on_a_device_is_reported(monkeypatch):
    class Broken(ToyModel):
        def step(self, state, action, **kwargs):
            state, pred = super().step(state, action, **kwargs)
            return state, pred._replace(reward=pred.reward * torch.nan)

    with reads(monkeypatch), pytest.raises(NumericalFault, match="predicted a NaN"):
        rollouts(Broken()).generate(collect(ToyEnv(2), 60), 2)
