"""A model as an environment: the checkers of gymnasium and SB3, ends, seeds, SB3's PPO inside."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.evaluation import evaluate_policy

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination import ImaginedVecEnv, ModelEnv, ModelVectorEnv, SB3ModelEnv
from mbrl.types import ActionSpec
from tests.toys import ACTION, TASK, ToyEnv, ToyModel, collect, generator

PUSHES = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)
STARTS = torch.rand(50, 2, generator=generator()) * 2 - 1


class Pushed(ToyModel):
    """The toy's equations under three discrete pushes."""

    def step(self, state, action, **kwargs):
        return super().step(state, action @ torch.tensor([[-1.0], [0.0], [1.0]]), **kwargs)


class Unsure(ToyModel):
    """Stands by nothing beyond position 0.5; terminates beyond -0.5."""

    def step(self, state, action, **kwargs):
        state, pred = super().step(state, action, **kwargs)
        position = pred.next_obs[:, 0]
        return state, pred._replace(valid=position < 0.5, terminated=position < -0.5)


@pytest.fixture(scope="module")
def ensemble():
    model = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), hidden=16, num_layers=2,
        training=EnsembleTraining(min_updates=100, max_updates=200),
    )  # fmt: skip
    model.fit(collect(ToyEnv(4), 100).all(), generator=generator())
    return model


def world(model=None, action=ACTION, starts=STARTS, **options):
    return ImaginedVecEnv(model or ToyModel(), starts, action, **options)


@pytest.mark.parametrize("case", ["continuous", "discrete", "bounded", "mean", "ensemble"])
@pytest.mark.parametrize("check", [gymnasium_check, sb3_check])
def test_the_checkers_pass(check, case, ensemble):
    options = {"max_episode_steps": 20}
    made = {
        "continuous": lambda: world(**options),
        "discrete": lambda: world(Pushed(), PUSHES, **options),
        "bounded": lambda: world(bounds=(-torch.ones(2), torch.ones(2)), **options),
        "mean": lambda: world(stochastic=False, **options),
        "ensemble": lambda: world(ensemble, starts=collect(ToyEnv(4), 50), **options),
    }[case]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in ("infinity", "spec", "symmetric and normalized"):
            warnings.filterwarnings("ignore", message=f".*{known}")
        check(ModelEnv(made))


def test_faces_show_the_same_episodes():
    cores = [world(num_envs=n, max_episode_steps=7) for n in (3, 3, 3, 1)]
    vector, sb3 = ModelVectorEnv(cores[1]), SB3ModelEnv(cores[2])
    obs = cores[0].reset(11)
    np.testing.assert_array_equal(obs, vector.reset(seed=11)[0])
    sb3.seed(11)
    np.testing.assert_array_equal(obs, sb3.reset())
    draws, ended = generator(1), 0
    for _ in range(30):
        action = ACTION.sample(3, generator=draws)
        step = cores[0].step(action)
        done = (step.terminated | step.truncated).numpy()
        seen, reward, terminated, truncated, info = vector.step(action.numpy())
        np.testing.assert_array_equal(seen, step.obs)
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(terminated, step.terminated)
        np.testing.assert_array_equal(truncated, step.truncated)
        seen, reward, over, infos = sb3.step(action.numpy())
        np.testing.assert_array_equal(seen, step.obs)
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(over, done)
        for i in np.flatnonzero(done):
            np.testing.assert_array_equal(info["final_obs"][i], step.next_obs[i])
            np.testing.assert_array_equal(infos[i]["terminal_observation"], step.next_obs[i])
            assert infos[i]["TimeLimit.truncated"] == bool(step.truncated[i])
            ended += 1
    assert ended >= 12


def test_seeds_repeat_and_nothing_else_is_drawn_from():
    torch.manual_seed(0)
    env = ModelEnv(world(max_episode_steps=5))

    def episode(seed):
        rows = [env.reset(seed=seed)[0]]
        for _ in range(12):
            obs, _, terminated, truncated, _ = env.step(np.array([0.5], dtype=np.float32))
            rows.append(obs if not (terminated or truncated) else env.reset()[0])
        return np.array(rows)

    first = episode(3)
    np.testing.assert_array_equal(first, episode(3))
    assert not np.array_equal(first, episode(4))
    expected = torch.rand(1, generator=generator(0))
    assert torch.rand(1).equal(expected)  # the global generator was not touched


def test_doubt_truncates_and_termination_terminates():
    env = world(Unsure(), num_envs=200, stochastic=False)
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
    env = world(Unsure(), num_envs=50, max_episode_steps=4, stochastic=False)
    env.reset(0)
    age = torch.zeros(50, dtype=torch.int64)
    for _ in range(20):
        step = env.step(torch.zeros(50, 1))
        age += 1
        assert (age <= 4).all()
        doubted = step.next_obs[:, 0] >= 0.5
        assert step.truncated.equal(((age == 4) | doubted) & ~step.terminated)
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


def test_sb3s_ppo_learns_inside_the_model():
    for model, action in ((ToyModel(), ACTION), (Pushed(), PUSHES)):
        env = SB3ModelEnv(world(model, action, num_envs=16, max_episode_steps=20))
        ppo = PPO("MlpPolicy", env, n_steps=64, learning_rate=1e-3, gamma=0.9, seed=0)
        before, _ = evaluate_policy(ppo, env, n_eval_episodes=64)
        ppo.learn(16 * 64 * 6)
        after, _ = evaluate_policy(ppo, env, n_eval_episodes=64)
        assert after > before / 2 > before  # less than half of the cost is left


def test_sb3s_sac_takes_the_single_face():
    sac = SAC("MlpPolicy", ModelEnv(world(max_episode_steps=20)), learning_starts=10, seed=0)
    sac.learn(30)
    assert sac.num_timesteps == 30


def test_gymnasium_wrappers_take_the_vector_face():
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        ModelVectorEnv(world(num_envs=3, max_episode_steps=5))
    )
    env.reset(seed=0)
    for _ in range(5):
        info = env.step(env.action_space.sample())[-1]
    assert (info["episode"]["l"] == 5).all()


def test_held_steps_add_up_and_stop_at_the_end():
    held, single = (world(Unsure(), stochastic=False, num_envs=50, action_hold=h) for h in (3, 1))
    obs = held.reset(2)
    assert obs.equal(single.reset(2))
    action = ACTION.sample(50, generator=generator(3))
    found = held.step(action)
    alive = torch.ones(50, dtype=torch.bool)
    total, last = torch.zeros(50), obs.clone()
    ended, cut = ~alive, ~alive
    for _ in range(3):
        pred = Unsure().step(last, action)[1]
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


def test_what_is_outside_can_be_given_a_value():
    plain, valued = (
        world(Unsure(), stochastic=False, num_envs=50, invalid_state_value=v) for v in (None, -7.0)
    )
    assert plain.reset(1).equal(valued.reset(1))
    a, b = (made.step(torch.ones(50, 1)) for made in (plain, valued))
    outside = a.truncated
    assert outside.any() and not outside.all() and not b.truncated.any()
    assert b.terminated.equal(a.terminated | outside)
    torch.testing.assert_close(b.reward, a.reward - 7.0 * outside)
