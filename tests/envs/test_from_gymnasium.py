"""Gymnasium's environments as a VecEnv: the same numbers; what breaks is named."""

import copy
import time

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from mbrl.envs import GymnasiumVecEnv
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import HasGymnasiumSpaces
from tests.envs.broken import HOW
from tests.envs.faulty import HERE, check, make
from tests.toys import generator


def test_foreign_environments_are_gymnasiums_own():
    """The adapter against gymnasium's vector environment, float32."""
    import torch

    from mbrl.envs import make_vec

    for id, discrete in (("CartPole-v1", True), ("MountainCarContinuous-v0", False)):
        own = make_vec(id, num_envs=3)
        other = gymnasium.make_vec(
            id,
            num_envs=3,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )
        a, b = own.reset(5).numpy(), other.reset(seed=5)[0]
        assert np.array_equal(a, b.astype(np.float32))
        draws = torch.Generator().manual_seed(0)
        ended = 0
        for _ in range(1000):
            action = own.action.sample(3, generator=draws)
            taken = action.argmax(1).numpy() if discrete else action.numpy()
            step, seen = own.step(action), other.step(taken)
            for x, y in zip((step.obs, step.reward, step.terminated, step.truncated), seen[:4],
                            strict=True):  # fmt: skip
                assert np.array_equal(x.numpy(), y.astype(x.numpy().dtype))
            for i in np.flatnonzero(seen[4].get("_final_obs", [])):
                last = seen[4]["final_obs"][i].astype(np.float32)
                assert np.array_equal(step.next_obs[i].numpy(), last)
                ended += 1
        assert ended > 0


def test_there_are_thirty_and_more():
    assert len(HOW) >= 30


@pytest.mark.parametrize("how", [how for how in HERE if HOW[how].named])
def test_what_breaks_is_named_with_index_and_step(how):
    check(how, make(how))


@pytest.mark.parametrize("how", ["changes the action", "obs overwritten"])
def test_what_is_copied_does_no_harm(how):
    sound, broken = make("never ends"), make(how)
    assert sound.reset(0).equal(broken.reset(0))
    action, kept = torch.full((3, 2), 0.5), []
    for _ in range(5):
        steps = sound.step(action), broken.step(action)
        kept.append(steps)
        assert action.eq(0.5).all()
    for a, b in kept:
        assert all(x.equal(y) for x, y in zip(a, b, strict=True))


def test_a_limit_can_be_given_to_an_environment_that_never_ends():
    env = make("never ends", 2, max_episode_steps=7)
    assert env.max_episode_steps == 7
    env.reset(0)
    ends = [env.step(torch.zeros(2, 2)).truncated.all().item() for _ in range(14)]
    assert ends == [False] * 6 + [True] + [False] * 6 + [True]


def test_a_second_episode_is_restored_from_its_own_start_and_actions():
    env = GymnasiumVecEnv("CartPole-v1", num_envs=2)
    env.reset(0)
    draws, steps, ended = generator(0), torch.zeros(2, dtype=torch.int64), 0
    while ended < 3:
        step = env.step(env.action.sample(2, generator=draws))
        done = step.terminated | step.truncated
        steps, ended = torch.where(done, 0, steps + 1), ended + int(done.sum())
    env.step(env.action.sample(2, generator=draws))
    state, other = env.state_dict(), GymnasiumVecEnv("CartPole-v1", num_envs=2)
    assert [len(actions) for actions in state["taken"]] == (steps + 1).tolist()
    other.load_state_dict(state)
    action = env.action.sample(2, generator=draws)
    for a, b in zip(env.step(action), other.step(action), strict=True):
        assert a.equal(b)


def test_an_environment_that_does_not_repeat_is_named_when_it_is_restored():
    for how in ("does not repeat", "step raises"):  # the second does, up to its second step
        steps = 3 if how == "does not repeat" else 2
        env = make(how, 2)
        env.reset(0)
        for _ in range(steps):
            env.step(torch.zeros(2, 2))
        if how == "step raises":
            make(how, 2).load_state_dict(env.state_dict())
            continue
        with pytest.raises(EnvironmentFault, match="environment 1, step 3: does not repeat"):
            make(how, 2).load_state_dict(env.state_dict())


class Broken(gymnasium.Env):
    """Goes wrong in its own way at its third step."""

    def __init__(self, how: str = "", space: spaces.Space | None = None, obs=None):
        self.how = how
        self.action_space = space or spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = obs or spaces.Box(-9, 9, (3,), np.float64)
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(3), {}

    def step(self, action):
        self.steps += 1
        obs, reward = np.full(3, 0.1), 1.0
        if self.steps == 3:
            if self.how == "nan obs":
                obs[1] = np.nan
            elif self.how == "inf obs":
                obs[1] = np.inf
            elif self.how == "nan reward":
                reward = float("nan")
            elif self.how == "raises":
                raise ValueError("the robot fell off")
            elif self.how == "hangs":
                time.sleep(30)
            elif self.how == "changes the action":
                action += 1
        return obs, reward, False, False, {}


gymnasium.register("BrokenForTests-v0", entry_point=Broken, max_episode_steps=10)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("nan obs", "a NaN in the observation"),
        ("inf obs", "an infinity in the observation"),
        ("nan reward", "a NaN in the reward"),
        ("raises", "raised ValueError: the robot fell off"),
        ("hangs", "no answer within 0.3 s"),
    ],
)
def test_the_fault_is_named_with_index_and_step(how, named):
    env = GymnasiumVecEnv(
        "BrokenForTests-v0",
        num_envs=3,
        kwargs={"how": ""},
        time_limit=0.3 if how == "hangs" else None,
    )
    env._envs[1].unwrapped.how = how
    env.reset(0)
    for _ in range(2):
        env.step(torch.zeros(3, 2))
    with pytest.raises(EnvironmentFault) as caught:
        env.step(torch.zeros(3, 2))
    assert (caught.value.index, caught.value.step) == (1, 3)
    assert str(caught.value) == f"environment 1, step 3: {named}"


def test_an_environment_cannot_change_the_action_it_is_given():
    env = GymnasiumVecEnv("BrokenForTests-v0", num_envs=1, kwargs={"how": "changes the action"})
    env.reset(0)
    action = torch.zeros(1, 2)
    for _ in range(4):
        env.step(action)
    assert action.equal(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (spaces.MultiDiscrete([2, 2]), None),
        (spaces.Box(-np.inf, np.inf, (2,)), None),
        (spaces.MultiBinary(3), None),
        (spaces.Box(0, 5, (2,), np.int64), None),
        (spaces.Box(np.array([0, -1.0]), np.array([1.0, np.inf]), dtype=np.float64), None),
        (spaces.Box(-3e38, 3e38, (2,)), None),
        (spaces.Box(-1e300, 1e300, (2,), np.float64), None),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1))), None),
        (spaces.Dict({"a": spaces.Discrete(2)}), None),
        (None, spaces.Discrete(4)),
        (None, spaces.Dict({"a": spaces.Box(0, 1)})),
        (None, spaces.Box(0, 255, (8, 8, 3), np.uint8)),
    ],
)
def test_unsupported_spaces_are_refused_in_one_line(space, obs):
    with pytest.raises(
        BadInput, match=r"BrokenForTests-v0: \w+ space .* is not supported"
    ) as caught:
        GymnasiumVecEnv("BrokenForTests-v0", kwargs={"space": space, "obs": obs})
    assert "\n" not in str(caught.value)


class Offset(gymnasium.Env):
    """Discrete actions from 3 on; an observation of shape (2, 2) holds the last action."""

    action_space = spaces.Discrete(2, start=3)
    observation_space = spaces.Box(-9, 9, (2, 2), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((2, 2), np.float32), {}

    def step(self, action):
        return np.full((2, 2), action, np.float32), 0.0, False, False, {}


def test_what_tensors_do_not_say_of_the_spaces_is_said_beside_them():
    env = GymnasiumVecEnv.around([Offset(), Offset()])
    assert isinstance(env, HasGymnasiumSpaces)
    assert (env.obs_dim, env.obs_shape, env.first_action) == (4, (2, 2), 3)
    env.reset(0)
    step = env.step(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert step.next_obs.tolist() == [[3.0] * 4, [4.0] * 4]


def test_wrong_values_are_refused():
    for name, value in (("num_envs", 0), ("max_episode_steps", 0), ("time_limit", 0)):
        with pytest.raises(BadInput, match=f"{name}={value}: should be"):
            GymnasiumVecEnv("CartPole-v1", **{name: value})


def test_actions_are_inside_the_space_in_its_own_type():
    class Exact(gymnasium.Env):
        observation_space = spaces.Box(-9, 9, (1,), np.float64)
        action_space = spaces.Box(np.array([-0.1, 0.1]), np.array([0.1, 0.1]), dtype=np.float64)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1), {}

        def step(self, action):
            assert self.action_space.contains(action), action
            return np.zeros(1), 0.0, False, False, {}

    env = GymnasiumVecEnv.around([Exact(), Exact()])
    env.reset(0)
    for action in (env.action.low, env.action.high):
        env.step(action.expand(2, -1))


def test_each_environment_can_have_a_seed_of_its_own_and_options():
    class Chosen(gymnasium.Env):
        observation_space = spaces.Box(-99, 99, (1,), np.float64)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.x = np.array([(options or {}).get("at", 0.0)]) + self.np_random.uniform()
            return self.x.copy(), {}

        def step(self, action):
            self.x = self.x + action
            return self.x.copy(), 0.0, False, False, {}

    env = GymnasiumVecEnv.around([Chosen(), Chosen()])
    each = env.reset([3, 7])
    assert each[0].equal(env.reset(3)[0]) and each[1].equal(env.reset(7)[0])
    placed = env.reset([3, 7], {"at": 50.0})
    torch.testing.assert_close(placed, each + 50)
    env.step(torch.tensor([[0.0, 1.0]] * 2))
    other = GymnasiumVecEnv.around([Chosen(), Chosen()])
    other.load_state_dict(env.state_dict())
    action = torch.tensor([[0.0, 1.0]] * 2)
    assert env.step(action).obs.equal(other.step(action).obs)
    for seed in ([1], [1, 2, 3], -1, 1.5, "a", [1, None], True):
        with pytest.raises(BadInput, match="seed="):
            env.reset(seed)


def test_what_is_no_environment_is_refused():
    for envs, words in (
        ([], "at least one"),
        ([3], "a int should be a gymnasium Env"),
        ([Offset, Offset], "a type should be a gymnasium Env"),
        ([Offset(), gymnasium.make("CartPole-v1")], "observation_space of number 1"),
    ):
        with pytest.raises(BadInput, match=words):
            GymnasiumVecEnv.around(envs)


def test_a_limit_is_found_in_a_wrapper():
    limited = gymnasium.wrappers.TimeLimit(Offset(), 7)
    assert GymnasiumVecEnv.around([limited]).max_episode_steps == 7
    assert GymnasiumVecEnv.around([Offset()]).max_episode_steps is None


def test_an_environment_that_cannot_be_made_is_named():
    def fails():
        raise ValueError("no such robot")

    gymnasium.register("FailsForTests-v0", entry_point=fails)
    with pytest.raises(EnvironmentFault, match="raised ValueError when it was made: no such robot"):
        GymnasiumVecEnv("FailsForTests-v0")
    with pytest.raises(BadInput, match="one of a module of yours is MODULE:pkg/Arm-v0"):
        GymnasiumVecEnv("pkg/Arm-v0")


def test_a_reset_that_mujoco_does_by_itself_is_a_fault():
    env = GymnasiumVecEnv("HalfCheetah-v5", num_envs=2)
    env._envs[1].unwrapped.model.opt.timestep = 0.1
    env.reset(0)
    draws = generator(0)
    with pytest.raises(EnvironmentFault, match="environment 1, step .* reset the simulation"):
        for _ in range(200):
            env.step(env.action.sample(2, generator=draws))
    env.close()


@pytest.mark.parametrize(
    "result, words",
    [
        ((np.ma.masked_array(np.zeros(2), [0, 1]), {}), "the observation is a masked array"),
        ((np.zeros(2), None), r"the info of reset\(\) is nothing, not a dict"),
        (np.zeros(2), r"reset\(\) gave an array of float64 and shape \(2,\), not \(observation"),
    ],
)
def test_what_a_reset_should_not_return_is_named(result, words):
    env = Broken("")
    vars(env)["reset"] = lambda **options: gymnasium.Env.reset(env, **options) or result
    with pytest.raises(EnvironmentFault, match=f"environment 0, step 0: {words}"):
        GymnasiumVecEnv.around([env]).reset(0)


def test_one_object_is_not_two_environments():
    env = gymnasium.make("CartPole-v1")
    for copies in ([env, env], [env.unwrapped, gymnasium.make("CartPole-v1"), env]):
        with pytest.raises(BadInput, match="envs: number . is the same object as number 0"):
            GymnasiumVecEnv.around(copies)


@pytest.mark.parametrize("id", ["Hopper-v5", "CartPole-v1"])
@pytest.mark.parametrize("options", [{}, {"time_limit": 60.0}])
def test_a_copy_goes_on_as_the_other_does(id, options):
    env = GymnasiumVecEnv(id, num_envs=2, **options)
    draws = generator(0)
    fresh = copy.deepcopy(env)
    assert env.reset(3).equal(fresh.reset(3))
    for _ in range(30):  # of CartPole, past an end
        env.step(env.action.sample(2, generator=draws))
    other = copy.deepcopy(env)
    for _ in range(5):
        action = env.action.sample(2, generator=draws)
        assert all(a.equal(b) for a, b in zip(env.step(action), other.step(action), strict=True))


def test_what_does_not_fit_the_number_or_the_order_is_refused():
    env, other = GymnasiumVecEnv("CartPole-v1", num_envs=2), GymnasiumVecEnv("CartPole-v1")
    with pytest.raises(BadInput, match=r"step: there is no episode yet; call reset\(\) first"):
        env.step(torch.eye(2))
    other.reset(0)
    with pytest.raises(ValueError, match="state: of 1 environments, should be of 2"):
        env.load_state_dict(other.state_dict())
    with pytest.raises(BadInput, match=r"kwargs=\['a'\]: should be a mapping"):
        GymnasiumVecEnv("CartPole-v1", kwargs=["a"])  # type: ignore[arg-type]
