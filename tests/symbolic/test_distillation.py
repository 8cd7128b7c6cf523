"""Distillation: known policies are found again."""

import pytest
import torch

from mbrl.errors import NumericalFault
from mbrl.imagination import ImaginedVecEnv
from mbrl.symbolic.distillation import ModelReturns, _population, distill
from tests.imagination.worlds import Bounded
from tests.symbolic.test_sparse_policy import student
from tests.toys import ACTION, ToyModel, ToySelector, generator

STARTS = torch.rand(8, 2, generator=generator()) * 2 - 1


def push_back(obs):
    return ToySelector().select(obs, generator=generator(), deterministic=True)


def model_returns(model=None, horizon=20, hold=1):
    return ModelReturns(model or ToyModel(), STARTS, horizon, hold)


def test_a_policy_of_two_terms_is_found_again_though_it_saturates():
    assert (push_back(STARTS).abs() == 1).any()
    two = student()
    found = distill(
        push_back, model_returns(), two, ACTION, max_terms=2, num_polish=0, generator=generator()
    )
    assert found.imitation >= found.teacher - 0.02
    assert two.num_terms == 2
    names = [term.text(two.names) for _, term in two.formulas()[0].terms]
    assert names == ["position", "velocity"]
    assert two.weights[two.weights != 0].tolist() == pytest.approx([-1, -1], abs=0.02)


def test_polishing_earns_more_in_the_model_and_keeps_the_terms():
    def timid(obs):
        return 0.2 * push_back(obs)

    plain, polished = student(), student()
    found = [
        distill(timid, model_returns(), p, ACTION, max_terms=3, num_polish=n, generator=generator())
        for p, n in ((plain, 0), (polished, 15))
    ]
    assert found[1].polished > found[0].imitation + 0.5
    assert ((plain.weights != 0) == (polished.weights != 0)).all()
    assert found[1].polished == pytest.approx(
        model_returns().evaluate(polished.select)[1].mean().item(), abs=1e-3
    )


def test_every_size_is_tried():
    found = distill(
        push_back, model_returns(), student(), ACTION, max_terms=5, num_rounds=2, num_polish=0,
        generator=generator(),
    )  # fmt: skip
    assert [size for size, _ in found.tried] == [*range(10, 0, -1)] * 2


def test_the_stage_is_the_imagined_environment():
    world = ImaginedVecEnv(ToyModel(), STARTS, ACTION, num_envs=8, stochastic=False)
    world._starts = torch.zeros(1, 2)
    world.reset(0)
    world._obs, world._state = STARTS, STARTS
    obs, total = STARTS, torch.zeros(8)
    for _ in range(20):
        step = world.step(push_back(obs))
        obs, total = step.obs, total + step.reward
    seen, returns = model_returns().evaluate(push_back)
    assert seen.shape == (20, 8, 2) and seen[0].equal(STARTS)
    torch.testing.assert_close(returns, total[None])
    assert model_returns(hold=3).evaluate(push_back)[0].shape == (7, 8, 2)


def test_leaving_where_the_model_is_valid_never_pays():
    """Rewards are negative: without a charge a row outside would earn more than one inside."""
    flee, stay = (ModelReturns(Bounded(), torch.tensor([[0.4, 0.0]]), 50, 1).evaluate(p)[1].item()
                  for p in (torch.ones_like, lambda o: -o.sum(1, keepdim=True)))  # fmt: skip
    assert flee < stay < 0


def test_many_policies_act_as_each_alone():
    options = torch.zeros(3, 1, 10, dtype=torch.float64)
    options[0, 0, 1], options[1, 0, 4], options[2, 0, [0, 9]] = -1.0, 2.0, 0.5
    obs = torch.randn(5, 2, generator=generator(1))
    together = _population(student().library, options, ACTION)(obs.repeat(3, 1))
    for k in range(3):
        policy = student()
        policy.weights.copy_(options[k])
        torch.testing.assert_close(together[5 * k : 5 * k + 5], policy.select(obs))


def test_a_model_that_breaks_is_named():
    class Broken(ToyModel):
        def step(self, state, action, **kwargs):
            return super().step(state * torch.nan, action, **kwargs)

    with pytest.raises(NumericalFault, match="NaN"):
        model_returns(Broken()).evaluate(push_back)
