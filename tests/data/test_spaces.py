"""The stand-in for an environment: the shapes of a dataset, and nothing to act in."""

import pytest
import torch

from mbrl.data import Spaces
from mbrl.errors import BadInput
from tests.data.samples import save

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors


def test_it_has_the_shapes_of_its_dataset_and_refuses_to_act():
    saved = save()
    env = Spaces(dataset="toy/random-v0", num_envs=3)
    assert (env.num_envs, env.obs_dim, env.action.dim) == (3, 2, 1)
    assert env.action.low.equal(saved.action.low) and env.max_episode_steps is None
    assert env.env_state() is None and env.state_dict() == {}
    env.load_state_dict({})
    env.close()
    for act in (lambda: env.reset(0), lambda: env.step(torch.zeros(3, 1))):
        with pytest.raises(BadInput, match="no environment to act in, only the shapes"):
            act()


def test_wrong_values_are_refused():
    with pytest.raises(BadInput, match="num_envs=0: should be at least 1"):
        Spaces(dataset="toy/random-v0", num_envs=0)
    with pytest.raises(BadInput, match="toy/random-v0: not in"):
        Spaces(dataset="toy/random-v0")
