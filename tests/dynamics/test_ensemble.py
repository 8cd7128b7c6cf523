"""The ensemble on systems whose answer is known."""

import numpy as np
import pytest
import torch

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.dynamics.ensemble import OVERFITTING
from mbrl.dynamics.likelihood import LikelihoodGradient
from mbrl.errors import BadInput, NumericalFault
from mbrl.nn import products
from mbrl.nn.early_stopping import split_holdout
from mbrl.nn.mlp import UNITS
from mbrl.types import ActionSpec, Task, Transitions
from tests.no_reads import reads
from tests.toys import ACTION, TASK, ToyEnv, collect, generator, move, reward, terminated

PIECE = UNITS // 32  # rows that are evaluated at once
SMALL = {"num_members": 5, "num_elites": 3, "hidden": 32, "num_layers": 2}


def make(task: Task = TASK, **changes) -> GaussianEnsemble:
    options = {**SMALL, **changes}
    return GaussianEnsemble(obs_dim=2, action=ACTION, task=task, generator=generator(), **options)


@pytest.fixture(scope="module")
def data() -> Transitions:
    return collect(ToyEnv(4), 300).all()


@pytest.fixture(scope="module")
def fitted(data) -> GaussianEnsemble:
    model = make()
    model.fit(data, generator=generator(1))
    return model


def test_learns_a_linear_system_and_its_reward(fitted):
    obs = torch.rand(500, 2, generator=generator(5)) * 2 - 1
    action = ACTION.sample(500, generator=generator(6))
    _, pred = fitted.step(fitted.initial(obs), action)
    after = move(obs, action)
    assert (pred.next_obs - after).abs().mean() < 0.02
    assert (pred.reward - reward(obs, action, after)).abs().mean() < 0.05
    assert pred.terminated.equal(terminated(obs, action, pred.next_obs))


def test_learns_the_noise_of_the_system():
    draws = generator(2)
    obs = torch.rand(3000, 2, generator=draws) * 2 - 1
    action = ACTION.sample(3000, generator=draws)
    noise = torch.randn(3000, 2, generator=draws) * torch.tensor([0.1, 0.3])
    flags = torch.zeros(3000, dtype=torch.bool)
    rows = Transitions(
        obs, action, torch.zeros(3000), obs + action + noise, flags, flags, torch.arange(3000)
    )
    model = make(
        reward="known", hidden=128, num_layers=3, training=EnsembleTraining(min_updates=1500)
    )
    model.fit(rows, generator=generator(3))
    here = torch.zeros(4000, 2)
    still = torch.zeros(4000, 1)
    for state in (model.initial(here), model.initial(here, generator=generator(4))):
        _, pred = model.step(state, still, generator=generator(5))
        spread = pred.next_obs.std(0)
        assert spread.tolist() == pytest.approx([0.1, 0.3], rel=0.25)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_intervals_hold_their_share_of_fresh_rows(noise):
    """Few rows, with noise and without: neither the first variances nor the last overfit."""
    draws = generator(2)

    def some(rows: int) -> Transitions:
        obs = torch.rand(rows, 2, generator=draws) * 2 - 1
        action = ACTION.sample(rows, generator=draws)
        after = move(obs, action) + 0.2 * torch.sin(3 * obs)
        after = after + noise * torch.randn(rows, 2, generator=draws)
        return Transitions.from_arrays(obs, action, after, episode=torch.arange(rows))

    model = make(hidden=64)
    model.fit(some(300), generator=generator(3))
    fresh = some(1000)
    state = model.initial(fresh.obs, num_particles=200, generator=generator(4))
    with torch.no_grad():
        pred = model.step(state, fresh.action.repeat(200, 1), generator=generator(5))[1]
    samples = pred.next_obs.view(200, 1000, 2)
    apart = (fresh.next_obs - samples.mean(0)).abs() / samples.std(0)
    for share, deviations in ((0.68, 0.994), (0.95, 1.96)):
        ends = samples.quantile(torch.tensor([0.5 - share / 2, 0.5 + share / 2]), 0)
        held = (fresh.next_obs > ends[0]) & (fresh.next_obs < ends[1])
        for inside in (apart < deviations, held):
            assert inside.float().mean().item() == pytest.approx(share, abs=0.07)


def test_members_are_trained_on_all_rows_or_on_a_bootstrap_of_their_own():
    """On few rows without noise a bootstrap makes members worse, and differ by more."""
    draws = generator(2)
    obs = torch.rand(1100, 2, generator=draws) * 2 - 1
    action = ACTION.sample(1100, generator=draws)
    rows = Transitions.from_arrays(obs, action, move(obs, action) + 0.2 * torch.sin(3 * obs))
    few, fresh = (Transitions(*(x[part] for x in rows)) for part in (slice(100), slice(100, None)))
    errors, spreads = [], []
    for bootstrap in (False, True):
        model = make(hidden=64, training=EnsembleTraining(bootstrap=bootstrap))
        model.fit(few, generator=generator(3))
        _, pred = model.step(model.initial(fresh.obs), fresh.action, with_uncertainty=True)
        spreads.append(pred.uncertainty.mean())
        errors.append((pred.next_obs - fresh.next_obs).square().mean())
    assert errors[1] > 1.3 * errors[0] and spreads[1] > 1.3 * spreads[0]


def test_checkpoints_without_corrected_variances_are_loaded_as_they_were(fitted):
    state = {k: v for k, v in fitted.state_dict().items() if "log_var_s" not in k}
    other = make()
    other.load_state_dict(state)
    assert other.log_var_shift.tolist() == [0, 0, 0] and other.log_var_slope == 1


def test_uncertainty_grows_away_from_the_data(fitted):
    near = torch.rand(200, 2, generator=generator(7)) * 2 - 1
    action = ACTION.sample(200, generator=generator(8))
    _, inside = fitted.step(fitted.initial(near), action, with_uncertainty=True)
    _, outside = fitted.step(fitted.initial(near + 20), action, with_uncertainty=True)
    assert outside.uncertainty.mean() > 5 * inside.uncertainty.mean()


@pytest.mark.parametrize("rows", [7, 3 * PIECE + 8])  # few, and more than are evaluated at once
def test_each_row_follows_the_member_it_was_given(fitted, rows):
    obs = torch.rand(rows, 2, generator=generator(9))  # over 3 elites: the last block is short
    action = ACTION.sample(rows, generator=generator(10))
    state = fitted.initial(obs, generator=generator(11))
    with torch.no_grad():
        _, pred = fitted.step(state, action)
    size = -(-rows // len(state.members))
    for row in {*range(0, rows, max(1, rows // 7)), size - 1, size, PIECE % rows, rows - 1}:
        own = state._replace(obs=obs[row : row + 1], members=(state.members[row // size],))
        _, alone = fitted.step(own, action[row : row + 1])
        torch.testing.assert_close(pred.next_obs[row], alone.next_obs[0])


def test_particles_stand_particle_by_particle(fitted):
    obs = torch.rand(4, 2, generator=generator(12))
    state = fitted.initial(obs, num_particles=6, generator=generator(13))
    assert state.obs.equal(obs.repeat(6, 1))
    assert sorted(state.members) == sorted(fitted.elites.tolist())  # 6 particles: 2 a member
    odd = fitted.initial(obs, num_particles=4, generator=generator(13))
    assert len(odd.members) == 4
    moved = fitted.observe(state, ACTION.sample(4, generator=generator(1)), obs + 1)
    assert moved.obs.equal((obs + 1).repeat(6, 1)) and moved.members == state.members


def test_the_mean_is_that_of_the_elites(fitted):
    obs = torch.rand(5, 2, generator=generator(14))
    action = ACTION.sample(5, generator=generator(15))
    each = []
    for member in fitted.elites.tolist():
        state = fitted.initial(obs)._replace(members=(member,))
        each.append(fitted.step(state, action)[1].next_obs)
    _, pred = fitted.step(fitted.initial(obs), action)
    torch.testing.assert_close(pred.next_obs, torch.stack(each).mean(0))


def test_a_constant_reward_is_predicted_exactly_enough(data):
    rows = data._replace(reward=torch.ones_like(data.reward))
    model = make()
    model.fit(rows, generator=generator(1))
    _, pred = model.step(model.initial(data.obs), data.action)
    assert (pred.reward - 1).abs().max() < 1e-2


def test_a_reward_that_cannot_be_predicted_does_not_stop_the_fit_of_the_rest(data):
    noisy = data._replace(reward=torch.randn(data.reward.shape, generator=generator(8)))
    model = make()
    model.fit(noisy, generator=generator(1))
    _, pred = model.step(model.initial(data.obs), data.action)
    scale = (data.next_obs - data.obs).std(0)
    assert ((pred.next_obs - data.next_obs) / scale).square().mean().sqrt() < 0.05


def test_rare_ends_are_learned_though_the_dynamics_are_exact():
    """Ends at a sharp edge, 1 row in 20: an output of the dynamics networks misses them all."""
    draws = generator(3)
    obs = torch.rand(3000, 2, generator=draws) * 4 - 2
    action = ACTION.sample(3000, generator=draws)
    after = move(obs, action)
    ended = after[:, 0] > after[:, 0].quantile(0.95)
    rows = Transitions(
        obs, action, after[:, 0], after, ended, torch.zeros_like(ended), torch.arange(3000)
    )
    model = make(Task(), training=EnsembleTraining(min_updates=1500))
    metrics = model.fit(rows, generator=generator(4))
    assert metrics["model/missed_ends"] < 0.02 and metrics["model/false_ends"] < 0.02
    _, pred = model.step(model.initial(obs), action)
    assert pred.terminated[ended].float().mean() > 0.95
    assert pred.terminated[~ended].float().mean() < 0.02

    state = model.initial(obs, num_particles=2, generator=generator(5))
    _, pred = model.step(state, action.repeat(2, 1), generator=generator(6))
    halves = zip(pred.next_obs.chunk(2), state.members, strict=True)
    own = torch.cat([model.ends(half, [member]) for half, member in halves])
    assert pred.terminated.equal(own)  # each particle's ends are told by its own member
    assert not own.equal(model.ends(pred.next_obs))


def test_nothing_ends_before_an_end_was_seen(data):
    model = make(Task())
    never = torch.zeros_like(data.terminated)
    assert "model/missed_ends" not in model.fit(
        data._replace(terminated=never), generator=generator(1)
    )
    _, pred = model.step(model.initial(data.obs * 100), data.action)
    assert not pred.terminated.any()


@pytest.mark.parametrize(("annealed", "factor"), [(0, 1.0001), (250, OVERFITTING)])
def test_a_refit_starts_from_the_last_weights_and_keeps_the_best(data, annealed, factor):
    """Those that are annealed are kept unless they overfit, even if others were a little better."""
    training = EnsembleTraining(min_updates=1, patience=1, anneal_updates=annealed)
    model = make(training=training)
    first = model.fit(data, generator=generator(1))["model/holdout_mse"]
    for _ in range(3):
        again = model.fit(data, generator=generator(2))["model/holdout_mse"]
        assert again <= first * factor
        first = again


def test_the_error_reported_is_that_of_the_weights_kept(data):
    model = make(training=EnsembleTraining(min_updates=300, patience=2))
    reported = model.fit(data, generator=generator(1))["model/holdout_mse"]
    held = Transitions(*(x[split_holdout(len(data.obs), 0.2)[1]] for x in data))
    change = torch.cat([held.next_obs - held.obs, held.reward[:, None]], 1)
    errors = []
    for member in model.elites.tolist():
        state = model.initial(held.obs)._replace(members=(member,))
        _, pred = model.step(state, held.action)
        found = torch.cat([pred.next_obs - held.obs, pred.reward[:, None]], 1)
        errors.append(((found - change) / model.targets.std).square().mean())
    assert reported == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


def test_the_number_of_gradient_steps_is_kept_to(data):
    training = EnsembleTraining(min_updates=30, max_updates=40, patience=1, anneal_updates=5)
    few = make(training=training)
    assert 35 <= few.fit(data, generator=generator(1))["model/updates"] <= 45


def test_same_generator_same_model_to_the_bit(data):
    models = []
    for _ in range(2):
        model = make(training=EnsembleTraining(max_updates=60, min_updates=60))
        model.fit(data, generator=generator(1))
        models.append(model)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert a.equal(b)


def test_saved_elites_come_back(fitted):
    other = make()
    other.load_state_dict(fitted.state_dict())
    obs, action = torch.rand(6, 2, generator=generator(1)), torch.zeros(6, 1)
    for model in (fitted, other):
        state = model.initial(obs, generator=generator(2))
        seen = model.step(state, action, generator=generator(3))[1].next_obs
        if model is fitted:
            expected = seen
    assert seen.equal(expected)


def test_gradients_reach_the_action(fitted):
    obs = torch.rand(6, 2, generator=generator(1))
    action = torch.zeros(6, 1, requires_grad=True)
    _, pred = fitted.step(fitted.initial(obs), action)
    pred.next_obs[:, 1].sum().backward()
    torch.testing.assert_close(action.grad, torch.full((6, 1), 0.3), atol=0.06, rtol=0)


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(BadInput, match="reward=known"):
        make(Task(), reward="known")
    with pytest.raises(BadInput, match="termination=known"):
        make(Task(), termination="known")
    with pytest.raises(BadInput, match="num_elites=6: should be .*at most num_members"):
        make(num_elites=6)


def test_what_is_not_finite_is_named_in_the_data_and_in_the_loss(data, monkeypatch):
    rows = data._replace(reward=data.reward.clone())
    rows.reward[3] = float("nan")
    with pytest.raises(BadInput, match=r"reward: shape \(.*,\), row 3 should be finite: nan"):
        make().fit(rows, generator=generator(1))
    model, losses = make(), LikelihoodGradient.__call__
    monkeypatch.setattr(
        LikelihoodGradient, "__call__", lambda self, rows: losses(self, rows) * float("nan")
    )
    with pytest.raises(NumericalFault, match="dynamics loss is nan"):
        model.fit(data, generator=generator(1))


def test_discrete_actions_are_one_hot_inputs():
    spec = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)
    draws = generator(2)
    obs = torch.rand(2000, 1, generator=draws)
    action = spec.sample(2000, generator=draws)
    after = obs + action @ torch.tensor([[-1.0], [0.0], [2.0]])
    flags = torch.zeros(2000, dtype=torch.bool)
    rows = Transitions(obs, action, after[:, 0], after, flags, flags, torch.arange(2000))
    never = Task(terminated=lambda o, a, n: torch.zeros_like(n[:, 0], dtype=torch.bool))
    model = GaussianEnsemble(obs_dim=1, action=spec, task=never, generator=generator(), **SMALL)
    model.fit(rows, generator=generator(1))
    _, pred = model.step(model.initial(obs), action)
    assert (pred.next_obs - after).abs().mean() < 0.05


def test_seeds_float64_and_arrays_are_taken_and_other_shapes_named():
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(64, 2)), rng.normal(size=(64, 1))
    spec = ActionSpec.box(-1, 1)

    def fitted(seed, fields):
        small = EnsembleTraining(max_updates=20, min_updates=1)
        model = GaussianEnsemble(
            obs_dim=2, action=spec, task=Task(), generator=seed, hidden=8, training=small
        )
        metrics = model.fit(Transitions(*fields), generator=seed)
        return metrics, model.step(model.initial(obs[:3]), torch.zeros(3, 1))[1].next_obs

    data = Transitions.from_arrays(obs, action, obs + 1, reward=obs[:, 0])
    doubles = (x.double() if x.is_floating_point() else x for x in data)
    arrays = (x.numpy() for x in data)
    runs = [fitted(5, fields) for fields in (data, doubles, arrays)]
    generator = torch.Generator().manual_seed(5)
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert runs[0][1].equal(runs[1][1]) and runs[0][1].equal(runs[2][1])
    with pytest.raises(ValueError, match=r"action: shape \(64,\) should be \(B, 1\)"):
        fitted(5, data._replace(action=data.action[:, 0]))
    with pytest.raises(ValueError, match=r"obs: shape \(2,\) should be \(B, 2\)"):
        GaussianEnsemble(obs_dim=2, action=spec, task=Task(), generator=generator).initial(obs[0])


def test_actions_of_a_step_may_be_arrays_or_float64_and_other_shapes_are_named():
    model = make(Task())
    state, action = model.initial(torch.randn(4, 2)), torch.randn(4, ACTION.dim)
    expected = model.step(state, action)[1].next_obs
    for given in (action.double(), action.numpy()):
        assert model.step(state, given)[1].next_obs.equal(expected)
    with pytest.raises(ValueError, match=r"action: shape \(3, \d\) should be \(4, \d\)"):
        model.step(state, action[:3])


def test_checkpoints_whose_layers_stood_in_the_model_itself_are_loaded(data):
    model, other = make(Task()), make(Task())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    old = {key.replace("networks.", ""): value for key, value in model.state_dict().items()}
    assert "weights.0" in old and "ends.biases.1" in old
    other.load_state_dict(old)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_members", 0), ("num_elites", 0), ("hidden", 0), ("num_layers", 0)),
        *(("reward", "auto"), ("termination", "never"), ("uncertainty", "spread")),
        ("precision", "fp16"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(BadInput, match=f"^{name}="):
        make(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("learning_rate", 0.0), ("weight_decay", -1e-4), ("batch_size", 0), ("holdout", 0.0)),
        *(("holdout", 0.6), ("patience", 0), ("min_updates", 0), ("max_updates", 2.5)),
        ("anneal_updates", -1),
    ],
)
def test_a_wrong_training_is_refused_by_name(name, value):
    with pytest.raises(BadInput, match=f"^{name}="):
        EnsembleTraining(**{name: value})


def test_on_a_device_a_fit_reads_one_number_an_epoch(data, monkeypatch):
    counts = []
    for updates in (40, 400):  # of 960 rows in batches of 32: 2 epochs, and 14
        training = EnsembleTraining(min_updates=updates, max_updates=updates)
        model = make(training=training)
        with monkeypatch.context() as patch, reads(patch) as found:
            model.fit(data, generator=generator(1))
        counts.append(len(found))
    assert counts[1] - counts[0] == 12 and counts[0] < 10


def test_on_a_device_a_fit_ends_where_it_ends_here(data, monkeypatch):
    here, there = make(), make()
    expected = here.fit(data, generator=generator(1))
    with reads(monkeypatch):
        metrics = there.fit(data, generator=generator(1))
    assert metrics == expected
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_ensembles_fitted_together_end_where_they_end_alone(bootstrap, monkeypatch):
    """Each stops at its own epoch, draws what it draws alone, and has its own termination.

    Products come from one library here: chosen by size, those of a batch are rounded in another way
    than those of a fit alone, which hundreds of steps enlarge.
    """
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: False)
    training = EnsembleTraining(min_updates=30, max_updates=400, patience=1, bootstrap=bootstrap)
    rows = [collect(ToyEnv(4), 60 + shift).all().select(torch.arange(200)) for shift in range(3)]
    rows = [data._replace(reward=data.reward * (1 + i)) for i, data in enumerate(rows)]
    options = {"training": training, "termination": "learned", "hidden": 16}
    alone, together = ([make(**options) for _ in range(3)] for _ in range(2))
    draws, same = ([generator(seed) for seed in range(3)] for _ in range(2))
    for again in (False, True):  # a second fit goes on from the first
        expected = [m.fit(d, generator=g) for m, d, g in zip(alone, rows, draws, strict=True)]
        metrics = GaussianEnsemble.fit_together(together, rows, same)
        assert again or len({found["model/updates"] for found in expected}) > 1
        for mine, theirs in zip(expected, metrics, strict=True):
            assert theirs == pytest.approx(mine, rel=1e-3, abs=1e-6)
    for one, other, mine, theirs in zip(alone, together, draws, same, strict=True):
        assert mine.get_state().equal(theirs.get_state())
        assert other.particle_members == one.particle_members
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(
                other.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name
            )


def test_bf16_rounds_large_products_of_steps_and_nothing_else(data):
    """Fits are the same to the bit, few rows too; many rows differ by bfloat16's rounding."""
    training = EnsembleTraining(min_updates=100, max_updates=100, anneal_updates=0)
    exact, rounded = (
        make(hidden=128, num_layers=3, training=training, precision=precision)
        for precision in ("fp32", "bf16")
    )
    for model in (exact, rounded):
        model.fit(data, generator=generator(1))
    for one, other in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert one.equal(other)
    obs = torch.rand(4000, 2, generator=generator(2)) * 2 - 1
    action = ACTION.sample(4000, generator=generator(3))

    def changes(rows: int, sampled: bool) -> list[torch.Tensor]:
        with torch.no_grad():
            draws = generator(4) if sampled else None
            states = [m.initial(obs[:rows], generator=draws) for m in (exact, rounded)]
            steps = [
                m.step(s, action[:rows], generator=generator(5) if sampled else None)
                for m, s in zip((exact, rounded), states, strict=True)
            ]
        return [pred.next_obs - obs[:rows] for _, pred in steps]

    for sampled in (False, True):
        one, other = changes(6, sampled)
        assert one.equal(other)
        one, other = changes(4000, sampled)
        assert 1e-5 < (one - other).norm() / one.norm() < 2e-2
    gradients = []
    for model in (exact, rounded):
        variable = action.clone().requires_grad_()
        total = model.step(model.initial(obs), variable)[1].next_obs.sum()
        gradients += torch.autograd.grad(total, variable)
    assert gradients[0].equal(gradients[1])


def test_ensembles_of_other_shapes_are_not_fitted_together(data):
    models = [make(), make(hidden=8)]
    with pytest.raises(BadInput, match="models: .* of one shape"):
        GaussianEnsemble.fit_together(models, [data, data], [generator(0), generator(1)])


def test_a_fit_alone_and_with_others_of_more_rows_are_the_same(data):
    few = data.select(torch.arange(300))
    alone, together, other = make(), make(), make()
    alone.fit(few, generator=generator(2))
    GaussianEnsemble.fit_together([together, other], [few, data], [generator(2), generator(3)])
    for one, two in zip(alone.parameters(), together.parameters(), strict=True):
        assert one.equal(two)
