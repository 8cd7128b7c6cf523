"""Seeds that learn as one batch come out as alone, and on a GPU nothing waits for them."""

import copy

import pytest
import torch

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, NumericalFault
from mbrl.learners import SAC
from mbrl.learners.sac_updates import READ_EVERY
from tests.learners.sac_problems import Backward, both, experience, seeded, small
from tests.no_reads import reads


def buffers(num: int, rows: int = 200) -> list[ReplayBuffer]:
    """Buffers of different transitions."""
    found = []
    for shift in range(num):
        data = experience(rows).all()
        found.append(ReplayBuffer(rows, 3, 2))
        found[-1].add(data._replace(reward=data.reward + shift, obs=data.obs * (1 + shift)))
    return found


def pairs(backward: Backward, num: int) -> tuple[list[SAC], list[SAC]]:
    alone = [small(backward, seed) for seed in range(num)]
    return alone, copy.deepcopy(alone)


@both
@pytest.mark.parametrize("imagined", [False, True])
def test_every_seed_of_a_stack_ends_where_it_ends_alone(backward, imagined):
    alone, together = pairs(backward, 3)
    real, model = buffers(3), buffers(3, 90) if imagined else [None] * 3
    stack = SAC.stack(together)
    for num in (20, 1, 5):
        expected = [
            x.improve(own, other, num_updates=num)
            for x, own, other in zip(alone, real, model, strict=True)
        ]
        metrics = stack.improve(real, model, num_updates=num)
    for one, other, mine, theirs in zip(alone, together, expected, metrics, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
        obs = torch.randn(7, 3, generator=seeded(5))
        actions = [x.select(obs, generator=seeded(6)) for x in (one, other)]
        torch.testing.assert_close(*actions, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.value(obs), other.value(obs), rtol=1e-4, atol=1e-5)
    obs = torch.randn(3, 7, 3, generator=seeded(5))
    chosen = stack.select(obs.unbind(), generators=[seeded(s) for s in range(3)])
    for seed, learner in enumerate(together):
        own = learner.select(obs[seed], generator=seeded(seed))
        torch.testing.assert_close(chosen[seed], own, rtol=1e-5, atol=1e-6)


def test_seeds_of_a_stack_do_not_touch_each_other():
    _, together = pairs("manual", 3)
    twin = copy.deepcopy(together)
    real = buffers(3)
    other = [real[0], real[2], real[1]]
    SAC.stack(together).improve(real, [None] * 3, num_updates=3)
    SAC.stack(twin).improve(other, [None] * 3, num_updates=3)
    same = [a.networks.actor.equal(b.networks.actor) for a, b in zip(together, twin, strict=True)]
    assert same == [True, False, False]


@both
def test_a_stack_goes_on_bit_for_bit_from_its_states(backward):
    _, first = pairs(backward, 2)
    real = buffers(2)
    stack = SAC.stack(first)
    stack.improve(real, [None] * 2, num_updates=5)
    saved = copy.deepcopy([x.state_dict() for x in first])
    second = [small(backward, seed=9 + i) for i in range(2)]
    again = SAC.stack(second)
    for learner, state in zip(second, saved, strict=True):
        learner.load_state_dict(state)
    results = [x.improve(real, [None] * 2, num_updates=5) for x in (stack, again)]
    assert results[0] == results[1]
    for one, other in zip(first, second, strict=True):
        for name, tensor in one.state_dict().items():
            assert tensor.equal(other.state_dict()[name]), name


def test_a_state_of_a_stack_fits_a_learner_alone():
    _, together = pairs("manual", 2)
    SAC.stack(together).improve(buffers(2), [None] * 2, num_updates=3)
    alone = small(seed=7)
    alone.load_state_dict(together[1].state_dict())
    for name, tensor in together[1].state_dict().items():
        assert tensor.equal(alone.state_dict()[name]), name


def test_what_cannot_learn_as_one_batch_is_refused():
    with pytest.raises(BadInput, match="learners: .* the same settings"):
        SAC.stack([small(), small(batch_size=8)])
    with pytest.raises(BadInput, match="learners: .* the same settings"):
        SAC.stack([small(), small(hidden=8)])
    _, together = pairs("manual", 2)
    stack = SAC.stack(together)
    with pytest.raises(BadInput, match="one of a stack"):
        together[0].improve(experience(40), num_updates=1)
    late = small()
    late.improve(experience(40), num_updates=2)
    together[1].load_state_dict(late.state_dict())
    together[0].load_state_dict(small().state_dict())
    with pytest.raises(BadInput, match="several numbers of updates"):
        stack.improve(buffers(2), [None] * 2, num_updates=1)


def test_on_a_device_an_update_reads_nothing_on_the_host(monkeypatch):
    """Real and imagined rows, batches drawn from a number of rows that is no Python number."""
    real, model = experience(100), experience(50)
    learner, new = small(), experience(5).all()
    learner.improve(real, model, num_updates=1)
    with reads(monkeypatch) as found:
        learner.improve(real, model, num_updates=1)  # the first call is read
        del found[:]
        for _ in range(READ_EVERY - 2):
            obs = torch.zeros(4, 3)
            learner.select(obs, generator=seeded())
            real.add(new)
            metrics = learner.improve(real, model, num_updates=3)
        assert found == []
        last = [learner.improve(real, model, num_updates=1) for _ in range(3)][-1]
        assert found == ["tolist"]  # the losses of one call
    assert metrics.keys() == last.keys() and metrics != last


def test_the_note_of_reads_sees_what_waits(monkeypatch):
    with reads(monkeypatch) as found:
        x = torch.arange(3.0)
        _ = x[x > 1], x.sum().item(), bool(x.any()), torch.nonzero(x), x.tolist(), x.numpy()
        x[x > 1] = 0
    expected = {"index", "_local_scalar_dense", "nonzero", "index_put_", "tolist", "numpy"}
    assert set(found) >= expected


def test_on_a_device_a_loss_that_was_not_read_is_checked_before_it_is_saved(monkeypatch):
    learner, real = small(), experience(50)
    data = experience(50).all()
    with reads(monkeypatch):
        learner.improve(real, num_updates=1)
        real.add(data._replace(reward=data.reward + 1e38))
        learner.improve(real, num_updates=1)
        with pytest.raises(NumericalFault, match="critic_loss"):
            learner.state_dict()


def test_draws_on_a_device_are_uniform_over_the_rows_held(monkeypatch):
    buffer = ReplayBuffer(1000, 3, 2)
    data = experience(10).all()
    buffer.add(data._replace(reward=torch.arange(10.0)))
    with reads(monkeypatch):
        drawn = buffer.sample(20_000, generator=seeded()).reward
    counts = torch.bincount(drawn.long(), minlength=10)
    assert len(counts) == 10 and (counts - 2000).abs().max() < 200
