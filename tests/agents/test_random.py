"""Random actions: uniform in the bounds, and evaluation draws apart from training."""

import torch

from mbrl.agents import Random
from mbrl.types import ActionSpec
from tests.toys import generator

ACTION = ActionSpec("continuous", torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0]))


def test_actions_are_uniform_in_their_bounds():
    agent = Random(action=ACTION, generator=generator())
    action = agent.act(torch.zeros(20_000, 3), explore=True)
    assert (action >= ACTION.low).all() and (action <= ACTION.high).all()
    torch.testing.assert_close(action.mean(0), torch.tensor([0.0, 2.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(action.var(0), torch.tensor([1 / 3, 4 / 3]), atol=0.03, rtol=0)


def test_evaluation_draws_apart_and_a_state_repeats_both():
    agent, other = (Random(action=ACTION, generator=generator()) for _ in range(2))
    obs = torch.zeros(5, 3)
    first = agent.act(obs, explore=True)
    assert not first.equal(agent.act(obs, explore=False))
    other.act(obs, explore=False)
    assert other.act(obs, explore=True).equal(first)
    saved = agent.state_dict()
    saved = {name: x.clone() for name, x in saved.items()}
    expected = [agent.act(obs, explore=explore) for explore in (True, False)]
    agent.load_state_dict(saved)
    assert all(a.equal(agent.act(obs, explore=e)) for a, e in zip(expected, (True, False),
                                                                  strict=True))  # fmt: skip
