"""SINDy as a dynamics model: known equations found, structure kept, bad input named."""

import logging

import numpy as np
import pytest
import torch

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy import LibrarySettings, RegressionSettings, ValiditySettings
from mbrl.dynamics.sindy.data import read_limits, usable
from mbrl.envs import pendulum
from mbrl.errors import BadInput
from mbrl.report.model_error import k_step_error
from mbrl.types import ActionSpec, Task, Transitions
from tests.dynamics.sindy.helpers import found, rows
from tests.toys import ACTION, TASK, ToyEnv, collect, generator, move, reward

SWING = {  # the preset of sindy_mpc
    "structured": True,
    "regression": RegressionSettings(limits={"speed": [-7.99, 7.99]}),
}


@pytest.fixture(scope="module")
def toy():
    data = collect(ToyEnv(4), 200).all()
    model = SINDy(obs_dim=2, action=ACTION, task=TASK)
    return model, data, model.fit(data, generator=generator(1))


def test_finds_the_equations_of_a_linear_system(toy):
    model, data, metrics = toy
    assert found(model) == {
        "position' - position": "0.27 velocity + 0.09 u",
        "velocity' - velocity": "-0.1 velocity + 0.3 u",
    }
    assert metrics["model/terms"] == 4 and metrics["model/stable"] == 1
    assert metrics["model/holdout_mse"] < 1e-10
    state, pred = model.step(model.initial(data.obs), data.action)
    torch.testing.assert_close(pred.next_obs, move(data.obs, data.action))
    torch.testing.assert_close(pred.reward, reward(data.obs, data.action, pred.next_obs))
    assert pred.valid.all() and state.obs.equal(pred.next_obs)


@pytest.mark.parametrize("seed", range(20))
def test_twenty_transitions_give_the_exact_equations_of_the_pendulum(seed):
    env = pendulum(seed=seed)
    model = SINDy(obs_dim=3, action=env.action, task=env.task, **SWING)
    model.fit(collect(env, 20, seed).all(), generator=generator(seed))
    assert found(model) == {
        "speed' - speed": "0.75 sin + 0.15 u",
        "turn of (cos, sin)": "0.05 speed'",
    }


def test_a_structured_model_stays_on_the_circle_and_integrates():
    env = pendulum(seed=3)
    model = SINDy(obs_dim=3, action=env.action, task=env.task._replace(project=None), **SWING)
    model.fit(collect(env, 100, 3).all(), generator=generator(0))
    fresh = collect(pendulum(num_envs=4, seed=90), 60, 90).all()
    error = k_step_error(model, usable(fresh, [(2, -7.99, 7.99)], torch.float32), horizon=15)
    assert error is not None and error.model[-1] < 1e-4
    state = model.initial(fresh.obs[:8])
    for _ in range(500):
        state, pred = model.step(state, torch.zeros(8, 1))
    length = pred.next_obs[:, :2].norm(dim=1)
    torch.testing.assert_close(length, torch.ones(8), atol=1e-3, rtol=0)


def test_positions_move_by_their_own_velocity():
    draws = generator(4)
    obs = torch.rand(200, 4, generator=draws) * 2 - 1  # position a, velocity a, position b, ...
    action = ACTION.sample(200, generator=draws)
    after = obs.clone()
    after[:, 1] += 0.3 * action[:, 0]
    after[:, 3] -= 0.2 * obs[:, 0]
    after[:, 0] += 0.1 * after[:, 1]
    after[:, 2] += 0.05 * (obs[:, 3] + after[:, 3])
    task = Task(reward=reward, obs_names=("a", "va", "b", "vb"), positions=((0, 1), (2, 3)))
    model = SINDy(obs_dim=4, action=ACTION, task=task, structured=True)
    model.fit(rows(obs, action, after), generator=generator(1))
    assert found(model) == {
        "va' - va": "0.3 u",
        "vb' - vb": "-0.2 a",
        "a' - a": "0.1 va'",
        "b' - b": "0.05 vb + 0.05 vb'",
    }


def test_next_values_instead_of_changes(toy):
    _, data, _ = toy
    model = SINDy(obs_dim=2, action=ACTION, task=TASK, regression=RegressionSettings(target="next"))
    model.fit(data, generator=generator(1))
    assert found(model)["velocity'"] == "0.9 velocity + 0.3 u"


def test_the_circle_is_not_counted_twice():
    env = pendulum()
    names = SINDy(obs_dim=3, action=env.action, task=env.task).steps.layout.library.names(
        ["c", "s", "w", "u"]
    )
    assert "c^2" in names and "c^2 u" in names and "s^2" not in names and "s^2 u" not in names


def test_fourier_terms_are_found():
    draws = generator(5)
    obs = torch.rand(300, 2, generator=draws) * 6 - 3
    action = ACTION.sample(300, generator=draws)
    after = obs + 0.1 * torch.stack([obs[:, 1], -torch.sin(obs[:, 0]) + action[:, 0]], 1)
    task = Task(reward=reward, obs_names=("angle", "speed"))
    for products in (False, True):
        library = LibrarySettings(degree=1, frequencies=2, products=products)
        model = SINDy(obs_dim=2, action=ACTION, task=task, library=library)
        model.fit(rows(obs, action, after), generator=generator(1))
        assert found(model)["speed' - speed"] == "-0.1 sin(angle) + 0.1 u"


def test_a_reward_can_be_learned(toy):
    _, data, _ = toy
    task = Task(obs_names=TASK.obs_names)
    paid = 0.5 - data.obs[:, 0] ** 2 - 0.1 * data.action[:, 0] ** 2
    model = SINDy(obs_dim=2, action=ACTION, task=task)
    model.fit(data._replace(reward=paid), generator=generator(1))
    assert found(model)["reward"] == "0.5 - 1 position^2 - 0.1 u^2"
    _, pred = model.step(model.initial(data.obs), data.action)
    torch.testing.assert_close(pred.reward, paid, atol=1e-4, rtol=0)
    assert not pred.terminated.any()
    with pytest.raises(BadInput, match="reward=known"):
        SINDy(obs_dim=2, action=ACTION, task=task, reward="known")


def test_members_differ_and_the_aggregate_is_their_median(toy):
    _, data, _ = toy
    noise = 0.05 * torch.randn(data.obs.shape, generator=generator(6))
    noisy = data._replace(next_obs=data.next_obs + noise)
    models = {}
    for how in ("median", "mean", "member"):
        models[how] = SINDy(obs_dim=2, action=ACTION, task=TASK, aggregate=how)
        models[how].fit(noisy, generator=generator(1))
    members = models["median"].steps.members
    assert members.equal(models["member"].steps.members) and members.std(0).max() > 0
    np.testing.assert_allclose(
        models["median"].system().coefficients, np.median(members.numpy(), 0), atol=1e-12
    )
    np.testing.assert_allclose(models["mean"].system().coefficients, members.numpy().mean(0))
    obs, action = data.obs[:40], data.action[:40]
    state = models["member"].initial(obs, generator=generator(2))
    assert len(state.members) == 10
    _, each = models["member"].step(state, action)
    for block, member in enumerate(state.members):
        part = slice(4 * block, 4 * block + 4)
        alone = state._replace(obs=obs[part], members=(member,))
        _, pred = models["member"].step(alone, action[part])
        torch.testing.assert_close(each.next_obs[part], pred.next_obs)
    assert models["median"].initial(obs, generator=generator(2)).members == ()


def test_uncertainty_grows_where_there_were_no_data(toy):
    _, data, _ = toy
    noise = 0.05 * torch.randn(data.obs.shape, generator=generator(6))
    for kind in ("spread", "leverage"):
        model = SINDy(
            obs_dim=2,
            action=ACTION,
            task=TASK,
            uncertainty=kind,
            validity=ValiditySettings(margin=100.0),
        )
        model.fit(data._replace(next_obs=data.next_obs + noise), generator=generator(1))
        scores = []
        for obs in (data.obs, data.obs + 10):
            _, pred = model.step(model.initial(obs), data.action, with_uncertainty=True)
            scores.append(pred.uncertainty.mean())
        assert scores[1] > 5 * scores[0]
        if kind == "leverage":
            inside = model.uncertainty(data.obs, data.action).square().mean()
            assert inside.item() == pytest.approx(1, abs=0.01)


def test_the_leverage_sees_what_all_members_share():
    draws = generator(7)
    obs = torch.rand(300, 2, generator=draws)
    action = ACTION.sample(300, generator=draws)
    data = rows(obs, action, move(obs, action))  # without noise: all members agree
    far = torch.full((5, 2), 30.0)
    given = {
        "obs_dim": 2,
        "action": ACTION,
        "task": TASK,
        "regression": RegressionSettings(num_dropped_terms=0),
    }
    spread, leverage = (SINDy(uncertainty=u, **given) for u in ("spread", "leverage"))
    for model in (spread, leverage):
        model.fit(data, generator=generator(1))
    assert spread.uncertainty(far, torch.zeros(5, 1)).max() < 1e-3
    assert leverage.uncertainty(far, torch.zeros(5, 1)).min() > 100


def test_beyond_the_bounds_a_prediction_is_not_valid(toy):
    model, data, _ = toy
    far = torch.tensor([[400.0, 0.0], [0.0, 0.0]])
    _, pred = model.step(model.initial(far), torch.zeros(2, 1))
    assert pred.valid.tolist() == [False, True] and torch.isfinite(pred.next_obs).all()
    assert pred.next_obs[0, 0] < 100
    env = pendulum(seed=4)
    swing = SINDy(obs_dim=3, action=env.action, task=env.task, **SWING)
    swing.fit(collect(env, 20, 4).all(), generator=generator(4))  # hangs all the time
    upright = torch.tensor([[1.0, 0.0, 0.0]])
    assert swing.step(swing.initial(upright), torch.zeros(1, 1))[1].valid.all()


def test_transitions_beyond_a_limit_are_not_regressed():
    draws = generator(8)
    obs = torch.rand(400, 2, generator=draws) * 4 - 2
    action = ACTION.sample(400, generator=draws)
    after = move(obs, action)
    after[:, 0] = after[:, 0].clamp(-1, 1)  # a wall
    data = rows(obs, action, after)
    limits = {"position": [-0.999, 0.999]}
    model = SINDy(obs_dim=2, action=ACTION, task=TASK, regression=RegressionSettings(limits=limits))
    model.fit(data, generator=generator(1))
    assert found(model)["position' - position"] == "0.27 velocity + 0.09 u"
    polluted = SINDy(
        obs_dim=2, action=ACTION, task=TASK, regression=RegressionSettings(threshold=0.01)
    )
    data = data._replace(next_obs=data.next_obs + 1e-6 * torch.rand(400, 2, generator=draws))
    polluted.fit(data, generator=generator(1))  # no two values are equal: the wall is not found
    assert found(polluted)["position' - position"] != found(model)["position' - position"]


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_a_wall_is_found_and_clips_predictions(unit):
    draws = generator(8)
    obs = torch.rand(400, 2, generator=draws) * 4 - 2
    action = ACTION.sample(400, generator=draws)
    after = move(obs, action)
    after[:, 0] = after[:, 0].clamp(-1, 1)
    model = SINDy(obs_dim=2, action=ACTION, task=TASK._replace(reward=None, terminated=None))
    model.fit(rows(unit * obs, action, unit * after), generator=generator(1))
    assert model.outcome.most.tolist() == [pytest.approx(unit), torch.inf]
    assert model.outcome.least.tolist() == [pytest.approx(-unit), -torch.inf]
    pred = model.step(model.initial(unit * obs), action)[1]
    torch.testing.assert_close(pred.next_obs / unit, after, atol=1e-5, rtol=0)
    assert pred.valid.all()


def test_saved_coefficients_come_back(toy):
    model, data, _ = toy
    other = SINDy(obs_dim=2, action=ACTION, task=TASK)
    other.load_state_dict(model.state_dict())
    assert found(other) == found(model)
    a, b = (m.step(m.initial(data.obs), data.action)[1] for m in (model, other))
    assert a.next_obs.equal(b.next_obs) and a.valid.equal(b.valid)


def test_a_compiled_model_predicts_the_same(toy):
    model, data, _ = toy
    other = SINDy(obs_dim=2, action=ACTION, task=TASK, compile=True)
    other.load_state_dict(model.state_dict())
    a, b = (m.step(m.initial(data.obs), data.action)[1] for m in (model, other))
    torch.testing.assert_close(a.next_obs, b.next_obs)


def test_bad_input_gets_one_line(toy):
    _, data, _ = toy
    few = Transitions(*(x[:4] for x in data))
    model = SINDy(obs_dim=2, action=ACTION, task=TASK)
    with pytest.raises(BadInput, match="4 usable transitions, but 3 variables need at least 5"):
        model.fit(few, generator=generator())
    bad = data._replace(next_obs=data.next_obs.clone())
    bad.next_obs[7, 1] = float("nan")
    with pytest.raises(BadInput, match=r"next_obs: shape .*, row 7 should be finite"):
        model.fit(bad, generator=generator())
    with pytest.raises(BadInput, match="num_elites=10: should be .* at most num_members"):
        SINDy(obs_dim=2, action=ACTION, task=TASK, num_members=5)
    with pytest.raises(BadInput, match="structured=True: .* no angles or positions"):
        SINDy(obs_dim=2, action=ACTION, task=TASK, structured=True)
    with pytest.raises(
        BadInput, match=r"regression.limits.speed: no such observation; .* position, velocity"
    ):
        SINDy(
            obs_dim=2, action=ACTION, task=TASK,
            regression=RegressionSettings(limits={"speed": [0, 1]}),
        )  # fmt: skip
    with pytest.raises(BadInput, match=r"should be \[low, high\]"):
        read_limits({"x": [1, 1]}, ["x"], "limits")


def test_constant_and_dependent_columns_are_named_and_left_out(caplog):
    draws = generator(10)
    free = torch.rand(200, 1, generator=draws)
    obs = torch.cat([free, torch.full_like(free, 2.0), 3 * free], 1)  # constant; dependent
    action = ACTION.sample(200, generator=draws)
    after = obs + 0.1 * action
    task = Task(reward=reward, obs_names=("a", "constant", "triple"))
    model = SINDy(obs_dim=3, action=ACTION, task=task, library=LibrarySettings(degree=1))
    with caplog.at_level(logging.WARNING):
        model.fit(rows(obs, action, after), generator=generator(1))
    line = "left out, constant or dependent on simpler terms in the data: constant, triple"
    assert line in caplog.text
    assert set(found(model).values()) == {"0.1 u"}


def test_ends_that_no_equation_predicts_are_said_once(toy, caplog):
    _, data, _ = toy
    ended = data.terminated.clone()
    ended[5] = True
    unknown = TASK._replace(terminated=None)
    model = SINDy(obs_dim=2, action=ACTION, task=unknown)
    with caplog.at_level(logging.WARNING):
        model.fit(data._replace(terminated=torch.zeros_like(ended)), generator=generator())
        assert "terminate" not in caplog.text
        for _ in range(2):
            model.fit(data._replace(terminated=ended), generator=generator())
        known = SINDy(obs_dim=2, action=ACTION, task=TASK)
        known.fit(data._replace(terminated=ended), generator=generator())
    assert caplog.text.count("the equations predict no end") == 1


def test_fewer_rows_than_terms_keep_the_simplest(caplog):
    draws = generator(11)
    obs = torch.rand(8, 2, generator=draws) * 2 - 1
    action = ACTION.sample(8, generator=draws)
    model = SINDy(obs_dim=2, action=ACTION, task=TASK)
    assert len(model.steps.layout.library) == 12
    with caplog.at_level(logging.WARNING):
        model.fit(rows(obs, action, move(obs, action)), generator=generator(1))
    assert "left out" in caplog.text
    assert found(model)["velocity' - velocity"] == "-0.1 velocity + 0.3 u"


def test_discrete_actions_are_one_hot_inputs():
    spec = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)
    draws = generator(2)
    obs = torch.rand(300, 1, generator=draws)
    action = spec.sample(300, generator=draws)
    after = obs + action @ torch.tensor([[-1.0], [0.0], [2.0]])
    model = SINDy(obs_dim=1, action=spec, task=Task(reward=reward))
    model.fit(rows(obs, action, after), generator=generator(1))
    _, pred = model.step(model.initial(obs), action)
    torch.testing.assert_close(pred.next_obs, after, atol=1e-4, rtol=0)


def test_the_same_generator_gives_the_same_model_to_the_bit(toy):
    _, data, _ = toy
    members = []
    for _ in range(2):
        model = SINDy(obs_dim=2, action=ACTION, task=TASK)
        model.fit(data, generator=generator(5))
        members.append(model.steps.members.clone())
    assert members[0].equal(members[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["steps.weights", "steps.members", "outcome.weights"])
def test_coefficients_that_are_not_finite_are_refused_by_name(toy, name, bad):
    state = {key: value.clone() for key, value in toy[0].state_dict().items()}
    state[name].view(-1)[0] = bad
    with pytest.raises(BadInput, match=f"^{name}: holds NaN or infinite numbers"):
        SINDy(obs_dim=2, action=ACTION, task=TASK).load_state_dict(state)


def test_a_model_worse_than_no_change_refuses_control_and_says_what_to_set(caplog):
    draws = generator(4)
    obs = torch.randn(30, 1, generator=draws) * 0.1
    path = [obs]
    for _ in range(30):  # small steps that no equation explains, and a few that mislead
        path.append(path[-1] + 0.01 * torch.randn(30, 1, generator=draws) * path[-1].abs() ** 3)
    path = torch.stack(path, 1)
    action = ACTION.sample(900, generator=draws)
    episode = torch.arange(30).repeat_interleave(30)
    data = rows(path[:, :-1].reshape(-1, 1), action, path[:, 1:].reshape(-1, 1), episode=episode)
    task = Task(reward=reward, obs_names=("x",))
    model = SINDy(obs_dim=1, action=ACTION, task=task)
    metrics = model.fit(data, generator=generator(1))
    assert metrics["model/worse_than_no_change"] == 0 and model.refusal() == ""
    model.worse_than_no_change.fill_(True)
    assert "must_beat_no_change" in model.refusal() and "sindy_or_ensemble" in model.refusal()
    free = SINDy(
        obs_dim=1, action=ACTION, task=task, validity=ValiditySettings(must_beat_no_change=False)
    )
    free.worse_than_no_change.fill_(True)
    assert free.refusal() == ""
