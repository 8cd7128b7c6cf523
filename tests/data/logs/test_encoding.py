"""Angles are encoded as cosine and sine, and found again."""

import math

import torch

from mbrl.data.logs.encoding import AngleEncoding

ENCODING = AngleEncoding(("x", "heading", "speed", "arm"), (1, 3))


def test_names_and_pairs_stand_where_the_angles_were():
    assert ENCODING.encoded_names == (
        "x", "cos(heading)", "sin(heading)", "speed", "cos(arm)", "sin(arm)",
    )  # fmt: skip
    assert ENCODING.pairs == ((1, 2), (4, 5))


def test_decoding_finds_the_observation_again():
    obs = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    found = ENCODING.decode(ENCODING.encode(obs))
    assert torch.allclose(found[:, [0, 2]], obs[:, [0, 2]])
    turns = (found - obs)[:, [1, 3]] / (2 * math.pi)
    assert torch.allclose(turns, turns.round(), atol=1e-12)
    assert (found[:, [1, 3]].abs() <= math.pi).all()


def test_differences_of_angles_go_the_shorter_way():
    left, right = torch.tensor([0.0, 3.1, 9.0, -3.1]), torch.tensor([1.0, -3.1, 1.0, 3.1])
    gap = ENCODING.difference(left, right)
    short = 2 * math.pi - 6.2
    assert torch.allclose(gap, torch.tensor([-1.0, -short, 8.0, short]), atol=1e-5)


def test_projected_pairs_lie_on_the_circle_and_zero_stays():
    rows = torch.tensor([[1.0, 3.0, 4.0, 2.0, 0.0, 0.0]])
    assert torch.allclose(ENCODING.project(rows), torch.tensor([[1.0, 0.6, 0.8, 2.0, 0.0, 0.0]]))
