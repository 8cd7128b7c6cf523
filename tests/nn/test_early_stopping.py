"""The holdout, the batch size for few data, the best snapshot."""

import torch

from mbrl.nn.early_stopping import BestSnapshots, batch_size_for, draw_rows, split_holdout
from tests.toys import ToyEnv, collect, generator


def test_a_row_once_held_out_stays_held_out():
    train, held = split_holdout(1000, 0.2)
    assert held.shape[0] == 200 and sorted([*train.tolist(), *held.tolist()]) == list(range(1000))
    more_train, more_held = split_holdout(1500, 0.2)
    assert set(held.tolist()) <= set(more_held.tolist())
    assert set(train.tolist()) <= set(more_train.tolist())


def test_batches_are_small_while_data_are_few():
    assert [batch_size_for(n, 256) for n in (10, 500, 2000, 4000, 9000, 10**6)] == [
        32, 32, 32, 64, 256, 256,
    ]  # fmt: skip
    assert batch_size_for(10**6, 64) == 64 and batch_size_for(10, 16) == 16


def test_rows_are_drawn_whole_and_once():
    data = collect(ToyEnv(4), 25).all()
    assert draw_rows(data, 100, generator=generator()) is data
    drawn = draw_rows(data, 60, generator=generator())
    places = [int((data.obs == obs).all(1).nonzero()[0, 0]) for obs in drawn.obs]
    assert len(set(places)) == 60 and places != sorted(places)
    assert drawn.next_obs.equal(data.next_obs[places])


def test_each_member_gets_its_own_best_weights_back():
    weight = torch.nn.Parameter(torch.tensor([[0.0], [0.0]]))
    snapshots = BestSnapshots([weight])
    errors = [(1.0, 1.0), (0.5, 2.0), (0.9, 0.4), (0.499, 0.4)]
    gains = []
    for step, error in enumerate(errors):
        weight.data[:] = float(step)
        gains.append(snapshots.offer(torch.tensor(error)))
    snapshots.restore()
    assert weight.flatten().tolist() == [3.0, 2.0]  # the last gain of member 0 is kept, if small
    assert gains == [True, True, True, False]
