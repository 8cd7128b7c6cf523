"""Environments by id: the framework's own, gymnasium's, and unknown ones."""

import gymnasium
import pytest

import mbrl
from mbrl.envs import GymnasiumVecEnv, SimulatedVecEnv, vec_env_of
from mbrl.envs.registry import OWN
from mbrl.errors import BadInput


def test_unknown_ids_and_keywords_name_what_would_be_right():
    for id in ("Hoper-v5", "mbrl/Hoper-v5"):
        with pytest.raises(BadInput, match="did you mean Hopper-v5"):
            mbrl.make_vec(id)
    with pytest.raises(BadInput, match="did you mean Pusher-v5"):
        GymnasiumVecEnv("Pushr-v5")
    with pytest.raises(
        BadInput, match="backend='warp9': should be one of threads, warp, gymnasium"
    ):
        mbrl.make_vec("Hopper-v5", backend="warp9")
    for id in ("Hopper-v5", "Pendulum-v1", "CartPole-v1"):
        with pytest.raises(BadInput, match="gravity: .* takes no such argument"):
            mbrl.make_vec(id, gravity=3.7)
    with pytest.raises(BadInput, match="unexpected keyword"):
        GymnasiumVecEnv("Pusher-v5", kwargs={"gravity_of_mars": 3.7})


def test_ids_work_with_and_without_the_frameworks_name():
    for id in ("Pendulum-v1", "mbrl/Pendulum-v1"):
        env = mbrl.make_vec(id, num_envs=2, seed=3)
        assert isinstance(env, SimulatedVecEnv) and env.num_envs == 2
        assert env.reset().equal(mbrl.make_vec("Pendulum-v1", num_envs=2).reset(3))


def test_the_backend_chooses_who_steps():
    own, other = (mbrl.make_vec("Hopper-v5", backend=b) for b in ("threads", "gymnasium"))
    assert isinstance(own, SimulatedVecEnv) and isinstance(other, GymnasiumVecEnv)
    assert own.reset(1).equal(other.reset(1))


def test_every_own_id_makes_an_environment_of_its_own_settings():
    for id, make in OWN.items():
        env = make(num_envs=2)
        assert env.num_envs == 2 and env.max_episode_steps, id
    sparse, weak = OWN["PendulumSparse-v0"](), OWN["PendulumWeak-v0"]()
    assert sparse.max_episode_steps == 100 and weak.action.high.item() == pytest.approx(0.7)


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, True])
def test_a_wrong_number_of_environments_is_refused(num_envs):
    with pytest.raises(BadInput, match="num_envs=.*should be"):
        mbrl.make_vec("Pendulum-v1", num_envs=num_envs)


def test_an_id_of_a_module_is_made():
    env = mbrl.make_vec("scripts.robustness.odd_environments:Odd-v0", num_envs=2)
    assert env.reset(0).shape == (2, 2)
    with pytest.raises(BadInput, match="id=nomodule:Env-v0: No module named 'nomodule'"):
        mbrl.make_vec("nomodule:Env-v0")


@pytest.mark.parametrize(
    "given, words",
    [
        ({"max_episode_steps": 0}, "max_episode_steps=0: should be at least 1"),
        ({"max_episode_steps": 2.5}, "max_episode_steps=2.5: should be a whole number"),
        ({"num_envs": 0}, "num_envs=0: should be at least 1"),
        ({"time_limit": -1}, "time_limit=-1: should be above 0"),
        ({"seed": -1}, "seed=-1: should be at least 0"),
    ],
)
def test_what_a_given_environment_cannot_have_is_named(given, words):
    with pytest.raises(BadInput, match=words):
        vec_env_of(lambda: gymnasium.make("CartPole-v1"), **given)
