"""A model as a vector environment: ends, limits, bounds, held actions."""

import pytest
import torch

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination import ModelEnv
from mbrl.types import ActionSpec
from tests.imagination.worlds import PUSHES, STARTS, Bounded, Pushed, world
from tests.toys import ACTION, TASK, ToyEnv, collect, generator


@pytest.fixture(scope="module")
def ensemble():
    model = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), hidden=16, num_layers=2,
        training=EnsembleTraining(min_updates=100, max_updates=200),
    )  # fmt: skip
    model.fit(collect(ToyEnv(4), 100).all(), generator=generator())
    return model


def test_an_invalid_step_truncates_and_termination_terminates():
    env = world(Bounded(), num_envs=200, stochastic=False)
    env.reset(0)
    step = env.step(torch.zeros(200, 1))
    position = step.next_obs[:, 0]
    assert step.terminated.equal(position < -0.5)
    assert step.truncated.equal(position >= 0.5)
    done = step.terminated | step.truncated
    assert step.terminated.sum() > 0 and step.truncated.sum() > 0 and not done.all()
    assert step.obs[~done].equal(step.next_obs[~done])
    assert not step.obs[done].equal(step.next_obs[done])
    starts = {tuple(row) for row in STARTS.tolist()}
    assert {tuple(row) for row in step.obs[done].tolist()} <= starts


def test_time_limit_counts_each_environment_apart():
    env = world(Bounded(), num_envs=50, max_episode_steps=4, stochastic=False)
    env.reset(0)
    age = torch.zeros(50, dtype=torch.int64)
    for _ in range(20):
        step = env.step(torch.zeros(50, 1))
        age += 1
        assert (age <= 4).all()
        invalid = step.next_obs[:, 0] >= 0.5
        assert step.truncated.equal(((age == 4) | invalid) & ~step.terminated)
        age[step.terminated | step.truncated] = 0


def test_bounds_clip_what_is_seen_and_where_the_model_goes_on():
    env = world(bounds=(-torch.ones(2), torch.ones(2)), stochastic=False)
    env.reset(0)
    for _ in range(20):
        step = env.step(torch.ones(1, 1))
    assert step.obs.abs().max() <= 1 and step.obs[0, 0] == 1
    back = env.step(-torch.ones(1, 1))
    assert back.obs[0, 1] == pytest.approx(0.9 * step.obs[0, 1] - 0.3)


def test_rows_keep_their_member_until_all_begin_anew(ensemble):
    env = world(ensemble, num_envs=10, max_episode_steps=9)
    env.reset(0)
    members = env._state.members
    env._elapsed[:3] = 8
    env.step(torch.zeros(10, 1))
    assert env._state.members == members and len(set(members)) > 1
    assert env._state.obs.equal(env._obs)
    seen = set()
    for seed in range(20):
        env.reset(seed)
        seen.add(env._state.members)
    assert seen == {members}  # ten rows take every member; their order is sorted
    one = world(ensemble)
    assert len({(one.reset(seed), one._state.members)[1] for seed in range(20)}) > 1


def test_bad_input_is_named():
    with pytest.raises(BadInput, match="no observations"):
        world(starts=torch.zeros(0, 2))
    with pytest.raises(BadInput, match="ModelVectorEnv"):
        ModelEnv(world(num_envs=2))
    env = ModelEnv(world(Pushed(), PUSHES))
    env.reset(seed=0)
    with pytest.raises(BadInput, match="from 0 to 2"):
        env.step(3)
    broken = world(starts=torch.full((1, 2), float("nan")))
    broken.reset()
    with pytest.raises(NumericalFault, match="NaN"):
        broken.step(torch.zeros(1, 1))


def test_held_steps_add_up_and_stop_at_the_end():
    held, single = (world(Bounded(), stochastic=False, num_envs=50, action_hold=h) for h in (3, 1))
    obs = held.reset(2)
    assert obs.equal(single.reset(2))
    action = ACTION.sample(50, generator=generator(3))
    found = held.step(action)
    alive = torch.ones(50, dtype=torch.bool)
    total, last = torch.zeros(50), obs.clone()
    ended, cut = ~alive, ~alive
    for _ in range(3):
        pred = Bounded().step(last, action)[1]
        total += torch.where(alive, pred.reward, 0)
        last = torch.where(alive[:, None], pred.next_obs, last)
        ended, cut = ended | (alive & pred.terminated), cut | (alive & ~pred.valid)
        alive = alive & pred.valid & ~pred.terminated
    assert ended.any() and cut.any() and alive.any()
    assert found.next_obs.equal(last) and found.terminated.equal(ended)
    assert found.truncated.equal(cut & ~ended)
    torch.testing.assert_close(found.reward, total)


def test_held_steps_count_towards_the_time_limit():
    made = world(num_envs=2, action_hold=4, max_episode_steps=10)
    made.reset(0)
    cut = [made.step(torch.zeros(2, 1)).truncated.all().item() for _ in range(6)]
    assert cut == [False, False, True, False, False, True]


def test_an_invalid_step_can_be_given_a_terminal_value():
    plain, valued = (
        world(Bounded(), stochastic=False, num_envs=50, invalid_state_value=v) for v in (None, -7.0)
    )
    assert plain.reset(1).equal(valued.reset(1))
    a, b = (made.step(torch.ones(50, 1)) for made in (plain, valued))
    invalid = a.truncated
    assert invalid.any() and not invalid.all() and not b.truncated.any()
    assert b.terminated.equal(a.terminated | invalid)
    torch.testing.assert_close(b.reward, a.reward - 7.0 * invalid)


def test_bounds_and_actions_that_mean_nothing_are_refused():
    inf = torch.full((1,), torch.inf)
    with pytest.raises(BadInput, match="action: bounds .* should be finite"):
        world(action=ActionSpec("continuous", -inf, inf))
    with pytest.raises(BadInput, match="bounds: .* should be at most"):
        world(bounds=(torch.ones(2), -torch.ones(2)))
    with pytest.raises(BadInput, match="bounds: shape"):
        world(bounds=(torch.zeros(3), torch.ones(3)))
    env = world(num_envs=2)
    with pytest.raises(BadInput, match=r"action: shape \(1, 2\) should be \(2, 1\)"):
        env.step(torch.zeros(1, 2))
    assert env.step(torch.zeros(2, 1, dtype=torch.float64)).obs.dtype == torch.float32


def test_starts_are_inside_the_bounds():
    half = torch.full((2,), 0.5, dtype=torch.float64)
    env = world(bounds=(-half, half), num_envs=50)
    first = env.reset(0)
    assert first.dtype == torch.float32 and first.abs().max() == 0.5
    assert ModelEnv(world(bounds=(-half, half))).reset(seed=1)[0].dtype == "float32"
