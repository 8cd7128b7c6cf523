"""Penalties of MOPO and MOBILE against hand-written ones."""

import torch
from torch.nn.functional import pad

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.learners import BellmanPenalty, UncertaintyPenalty
from mbrl.types import Prediction, Transitions
from tests.toys import ACTION, TASK, ToyLearner, ToyModel, generator


class Apart(ToyModel):
    """Two successors of each row, apart by twice the action."""

    def candidates(self, state, action, num, *, generator):
        rows = [state + (-1) ** i * pad(action, (0, 1)) for i in range(num)]
        after = torch.cat(rows)
        ends = torch.zeros(len(after), dtype=torch.bool)
        ends[0] = True
        return after, Prediction(after, ends.float(), ends, ~ends, None)


def ensemble(**options) -> GaussianEnsemble:
    return GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), hidden=8, num_layers=1,
        training=EnsembleTraining(min_updates=5, max_updates=5), **options,
    )  # fmt: skip


def test_mobile_penalizes_the_spread_of_the_values():
    learner = ToyLearner()
    learner.value = lambda obs: obs[:, 0]
    obs, action = torch.randn(6, 2), torch.randn(6, 1)
    nothing = torch.zeros(6)
    given = Transitions(obs, action, nothing, obs, nothing > 0, nothing > 0, nothing.long())
    found = BellmanPenalty(scale=2.0, num_candidates=2, discount=0.5)(given, Apart(), learner)
    expected = 2 * 0.5 * action[:, 0].abs()  # values obs +- action: std |action|
    first = torch.tensor([0.0, (obs[0, 0] - action[0, 0]).item()]).std(correction=0)  # one ended
    expected[0] = 2 * 0.5 * first
    torch.testing.assert_close(found, expected)


def test_mopo_penalizes_the_models_uncertainty():
    obs, action = torch.randn(6, 2), torch.randn(6, 1)
    nothing = torch.zeros(6)
    given = Transitions(obs, action, nothing, obs, nothing > 0, nothing > 0, nothing.long())
    model = ensemble()
    expected = model.step(model.initial(obs), action, with_uncertainty=True)[1].uncertainty
    found = UncertaintyPenalty(scale=3.0)(given, model, ToyLearner())
    torch.testing.assert_close(found, 3 * expected)
    assert (expected > 0).all()


def test_the_largest_standard_deviation_is_that_of_the_elites():
    model = ensemble(uncertainty="std")
    obs, action = torch.randn(6, 2), torch.randn(6, 1)
    x = model.inputs(torch.cat([obs, action], 1)).expand(model.num_members, -1, -1)
    out = model._run(x)
    norms = out.log_var.exp().sum(-1).sqrt()
    torch.testing.assert_close(model.uncertainty(obs, action), norms[model.elites].amax(0))
    model._uncertainty = "raw_std"
    model.targets.std.copy_(torch.tensor([2.0, 0.5, 3.0]))
    spread = out.log_var.mul(0.5).exp() * model.targets.std
    torch.testing.assert_close(
        model.uncertainty(obs, action), spread.norm(dim=-1)[model.elites].amax(0)
    )
