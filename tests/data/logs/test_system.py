"""A recorded system has shapes and what is known of it, and nothing to act in."""

import pytest
import torch

from mbrl.data import RecordedSystem
from mbrl.errors import BadInput

GIVEN = {"obs_names": ("x", "heading"), "action_low": (-1.0,), "action_high": (2.0,)}


def test_its_task_knows_the_circles_of_its_angles():
    system = RecordedSystem(**GIVEN, angles=(1,), step=0.02)
    assert system.obs_dim == 3 and system.action.high.tolist() == [2.0]
    assert system.task.obs_names == ("x", "cos(heading)", "sin(heading)")
    obs = torch.tensor([[5.0, 3.0, 4.0]])
    assert system.task.project is not None and system.task.reward is not None
    assert torch.allclose(system.task.project(obs), torch.tensor([[5.0, 0.6, 0.8]]))
    assert system.task.reward(obs, obs, obs).tolist() == [0.0]


def test_it_cannot_be_acted_in():
    system = RecordedSystem(**GIVEN)
    for act in (system.reset, lambda: system.step(torch.zeros(1, 1))):
        with pytest.raises(BadInput, match="only recorded runs"):
            act()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"obs_names": ()}, "recorded runs are fitted by `mbrl fit DATA`"),
        ({"angles": (2,)}, r"angles: \[2\] should be from 0 to 1"),
        ({"action_high": (-2.0,)}, "low"),
    ],
)
def test_wrong_shapes_are_refused(changes, words):
    with pytest.raises(BadInput, match=words):
        RecordedSystem(**{**GIVEN, **changes})
