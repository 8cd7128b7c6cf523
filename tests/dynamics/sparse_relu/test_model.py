"""Sparse ReLU dynamics: what pruning keeps, what is exported, what a known system gives."""

import numpy as np
import pytest
import torch

from mbrl.dynamics import RolloutTraining, SparseReLU
from mbrl.errors import BadInput
from mbrl.planners.exact.piecewise_linear import PiecewiseLinearModel
from mbrl.relu import RELU, ZERO, PiecewiseLinearCost, Term
from mbrl.types import ActionSpec, InteractionEdges, Task, Transitions
from tests.toys import ACTION, TASK, ToyEnv, collect, generator

QUICK = {"hidden": (12,), "schedule": (6, 3), "dense_updates": 60, "stage_updates": 20}
ONE_STEP = RolloutTraining(rollout_length=1)
PAIR = ActionSpec("continuous", -torch.ones(2), torch.ones(2))


def cost(dim: int, width: int | None = None) -> PiecewiseLinearCost:
    return PiecewiseLinearCost((Term("l1", np.eye(dim, width or dim), np.zeros(dim)),))


def toy(**options):
    options = {"task": TASK, **QUICK, **options}
    return SparseReLU(obs_dim=2, action=ACTION, generator=generator(), **options)


def fitted(**options):
    model = toy(**options)
    metrics = model.fit(collect(ToyEnv(4), 100).all(), generator=generator(1))
    return model, metrics


def bend(obs, action):
    """Move by two ReLUs: a point that is stopped by a wall and pushed off by another."""
    change = 0.3 * action - 0.4 * (obs + action).clamp(min=0) + 0.7 * (-obs - 0.5).clamp(min=0)
    return obs + change


def known_system(rows: int = 4000):
    draws = generator(3)
    obs = 4 * torch.rand(rows, 1, generator=draws) - 2
    action = ACTION.sample(rows, generator=draws)
    never = torch.zeros(rows, dtype=torch.bool)
    episode = torch.arange(rows)
    return Transitions(obs, action, -obs[:, 0].abs(), bend(obs, action), never, never, episode)


# ---- pruning -----------------------------------------------------------------------------------


def test_each_stage_keeps_its_budget_and_the_next_fit_starts_from_all_neurons():
    model, metrics = fitted()
    assert metrics["model/relus"] == 3 and model.network().num_neurons == 3
    kinds = [layer.kind for layer in model._dense[0].net.layers]
    assert all((kind == RELU).all() for kind in kinds)
    before = model._dense[0].net.weight.clone()
    model.fit(collect(ToyEnv(4), 120, seed=2).all(), generator=generator(1))
    assert model.network().num_neurons == 3
    change = (model._dense[0].net.weight - before).norm() / before.norm()
    assert 0 < change < 1
    assert (model._sparse[0].net.layers[0].kind == ZERO).sum() == 9


def test_two_relus_are_found_where_two_are_enough():
    data = known_system()
    found = {}
    for schedule in ((12, 6, 2), (12, 6, 1)):
        model = SparseReLU(
            obs_dim=1, action=ACTION, task=Task(cost=cost(1)), generator=generator(),
            hidden=(24,), schedule=schedule, training=ONE_STEP,
            dense_updates=400, stage_updates=400,
        )  # fmt: skip
        found[schedule[-1]] = model.fit(data, generator=generator(1))["model/holdout_mse"]
        if schedule[-1] == 2:
            obs, action = data.obs[:200], data.action[:200]
            follows = model.step(model.initial(obs), action)[1].next_obs
            torch.testing.assert_close(follows, bend(obs, action), atol=0.05, rtol=0)
    assert found[2] < 1e-4 and found[1] > 20 * found[2]


def test_the_stability_term_leaves_fewer_neurons_in_doubt():
    data, doubts = known_system(), []
    x = torch.cat([data.obs, data.action], 1)[None]
    for weight in (0.0, 1.0):
        model = SparseReLU(
            obs_dim=1, action=ACTION, task=Task(cost=cost(1)), generator=generator(),
            hidden=(12,), schedule=(), dense_updates=100,
            training=RolloutTraining(
                rollout_length=1, stability_weight=weight, stability_radius=0.5
            ),
        )  # fmt: skip
        model.fit(data, generator=generator(1))
        kind = model._sparse.kinds()[0]
        doubts.append(kind.net.instability(kind.rows(x), 0.5).item())
    assert doubts[1] < doubts[0] - 0.05


# ---- what planners get -------------------------------------------------------------------------


def anchored(obs):
    return torch.stack([obs[:, 0] * obs[:, 1]], 1)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("case", ["learned", "known", "anchors"])
def test_the_exported_network_is_the_mean_prediction(members, case):
    task = TASK
    if case != "learned":
        task = TASK._replace(cost=cost(2, 3))
    if case == "anchors":
        reads = np.array([[1.0, 0, -1.0, 0]])  # position against the anchor
        task = TASK._replace(
            cost=PiecewiseLinearCost((Term("l1", reads, np.zeros(1)),)), anchors=anchored
        )
    model, _ = fitted(num_members=members, task=task, hidden=(8, 8))
    assert isinstance(model, PiecewiseLinearModel)
    data = collect(ToyEnv(3), 30, seed=5).all()
    state = model.initial(data.obs)
    network = model.network()
    assert network.obs_dim == state.obs.shape[1] == 2 + (case == "anchors")
    assert network.num_neurons == 3 * members and network.num_outputs == 2 + (case != "known")
    action = data.action
    for _ in range(5):
        inputs = torch.cat([state.obs, action], 1).double().numpy()
        expected = network.forward(inputs)[0]
        state, pred = model.step(state, action)
        torch.testing.assert_close(
            state.obs.double().numpy(), expected[:, : network.obs_dim], atol=2e-5, rtol=1e-5
        )
        assert pred.next_obs.equal(state.obs[:, :2])
        charged = model.cost.step(torch.from_numpy(expected), action)
        torch.testing.assert_close(pred.reward.double(), -charged, atol=2e-5, rtol=1e-5)
    if case == "anchors":
        assert state.obs[:, 2:].equal(anchored(data.obs))  # as when the plan began


def test_members_differ_and_their_spread_is_the_uncertainty():
    model, _ = fitted(num_members=3)
    obs, action = torch.randn(6, 2, generator=generator(1)), torch.zeros(6, 1)
    alone = torch.stack(
        [
            model.step(model.initial(obs)._replace(members=(m,)), action)[1].next_obs
            for m in range(3)
        ]
    )
    state = model.initial(obs, num_particles=3, generator=generator(2))
    assert state.members == (0, 1, 2)
    spread = model.step(state, action.repeat(3, 1), with_uncertainty=True)[1]
    torch.testing.assert_close(spread.next_obs.view(3, 6, 2), alone)
    expected = (alone.var(0, correction=0) / model.target_std[:2] ** 2).mean(1).sqrt()
    torch.testing.assert_close(spread.uncertainty, expected.repeat(3))
    mean = model.step(model.initial(obs), action)[1].next_obs
    torch.testing.assert_close(mean, alone.mean(0), atol=1e-5, rtol=1e-5)


# ---- shared networks ---------------------------------------------------------------------------


def pairs(count: int = 3) -> tuple[InteractionEdges, ...]:
    """Let points on a line see each other's distance, and each its own action's half."""
    ordered = [(i, j) for i in range(count) for j in range(count) if i != j]
    reads = torch.zeros(len(ordered), 1, count + 2)
    writes = torch.zeros(len(ordered), count, 1)
    for e, (i, j) in enumerate(ordered):
        reads[e, 0, i], reads[e, 0, j], writes[e, i, 0] = 1, -1, 1
    own = torch.zeros(count, 1, count + 2)
    own[:, 0, count] = 1
    return InteractionEdges(reads, writes), InteractionEdges(own, torch.eye(count)[:, :, None])


def repel(obs, action):
    """Push points apart that are closer than 1, on the right side of each other."""
    gap = obs[:, :, None] - obs[:, None]
    push = 0.2 * (1 - gap).clamp(min=0) * ~torch.eye(3, dtype=torch.bool)
    return obs + push.sum(2) + 0.1 * action[:, :1]


def test_a_law_shared_by_all_pairs_is_found_and_unrolled_into_sparse_blocks():
    draws = generator(4)
    obs, action = 4 * torch.rand(3000, 3, generator=draws) - 2, PAIR.sample(3000, generator=draws)
    never = torch.zeros(3000, dtype=torch.bool)
    following = repel(obs, action)
    data = Transitions(obs, action, obs[:, 0], following, never, never, torch.arange(3000))
    model = SparseReLU(
        obs_dim=3, action=PAIR, task=Task(cost=cost(3), interaction_edges=pairs()),
        generator=generator(), hidden=(6,), schedule=(3, 1), training=ONE_STEP,
        dense_updates=300, stage_updates=200,
    )  # fmt: skip
    assert model.fit(data, generator=generator(1))["model/holdout_mse"] < 1e-3
    network = model.network()
    assert network.num_neurons == 6 + 3  # one for each ordered pair, one for each own action
    layer = network.layers[0]
    assert ((layer.weight != 0).sum(1) <= 2).all()  # a pair sees two points
    assert (layer.weight[:6].sum(1) < 1e-9).all()  # by their difference alone
    torch.testing.assert_close(
        model.step(model.initial(obs), action)[1].next_obs, following, atol=0.05, rtol=0
    )
    swapped = obs[:, [1, 0, 2]]
    a = model.step(model.initial(swapped), action)[1].next_obs
    b = model.step(model.initial(obs), action)[1].next_obs[:, [1, 0, 2]]
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


# ---- refusals ----------------------------------------------------------------------------------


def test_refusals():
    with pytest.raises(BadInput, match=r"^schedule=\[6, 8\]"):
        toy(schedule=(6, 8))
    with pytest.raises(BadInput, match="^cost=known"):
        toy(cost="known")
    with pytest.raises(BadInput, match="interaction edges"):
        toy(task=Task(interaction_edges=pairs(1)))
