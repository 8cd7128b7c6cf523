"""Agents in SB3's shape: learn, predict, save, load, on named environments and on one's own."""

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import mbrl
from mbrl.api import GymAgent
from mbrl.cli import main
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.types import Task
from tests.contracts.test_agent import SMALL, TRAINING, flat

PETS = {
    "experiment": "none",
    "dynamics": SMALL["dynamics"]["ensemble"],
    "planner": SMALL["planner"]["icem"] | {"action_hold": 2},
    "agent.learning_starts": 40,
    "agent.retrain_interval": 40,
}
MBPO = {
    "experiment": "none",
    "dynamics": SMALL["dynamics"]["ensemble"] | {"training": TRAINING | {"bootstrap": True}},
    "learner": SMALL["learner"]["sac"],
    **{f"agent.{key}": value for key, value in SMALL["agent"]["mbpo"].items()},
}


class Own(gymnasium.Env):
    """A user's environment: push a point, observed as a 2 x 1 array, to zero; 15 steps."""

    observation_space = spaces.Box(-10, 10, (2, 1), np.float32)
    action_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.point, self.age = self.np_random.uniform(-1, 1, (2, 1)).astype(np.float32), 0
        return self.point.copy(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.point = 0.9 * self.point + 0.1 * (int(action) - 6)
        self.age += 1
        return self.point.copy(), -float(abs(self.point).sum()), False, self.age == 15, {}


def same(a, b):
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(
        x.equal(b[k]) if isinstance(x, torch.Tensor) else x == b[k] for k, x in a.items()
    )


def test_it_learns_predicts_and_is_the_agent_of_the_command_line(tmp_path):
    agent = GymAgent("mbpo", env="pendulum", seed=3, **MBPO)
    before = agent.predict([1.0, 0.0, 0.0])[0]
    assert agent.learn(60) is agent and agent.num_timesteps == 60
    action, state = agent.predict(np.zeros(3), deterministic=True)
    assert action.shape == (1,) and action.dtype == np.float32 and state is None
    assert agent.predict(np.zeros((4, 3)))[0].shape == (4, 1)
    assert not np.array_equal(agent.predict([1.0, 0.0, 0.0])[0], before)

    typed = [f"{key}={value}" for key, value in MBPO.items() if not isinstance(value, dict)]
    for group in ("dynamics", "learner"):
        typed += [f"{group}.{key}={value}" for key, value in MBPO[group].items()]
    run = tmp_path / "run"
    arguments = ["agent=mbpo", "env=pendulum", "seed=3", "total_steps=60", f"run_dir={run}"]
    assert main(["train", *arguments, "eval_episodes=1", *typed]) == 0
    assert same(mbrl.load(run).agent.state_dict(), agent.agent.state_dict())


@pytest.mark.parametrize(
    "name, env, settings", [("mbpo", "pendulum", MBPO), ("pets", "Pendulum-v1", PETS)]
)
def test_saved_and_loaded_it_acts_and_goes_on_the_same(name, env, settings, tmp_path, capsys):
    agent = GymAgent(name, env=env, **settings).learn(50)
    agent.save(tmp_path / "kept")
    agent.save(tmp_path / "kept")  # again: replaced
    other = GymAgent.load(tmp_path / "kept")
    obs = np.array([0.5, 0.5, 1.0], dtype=np.float32)
    third = mbrl.load(tmp_path / "kept")
    acts = [[each.predict(obs)[0] for _ in range(3)] for each in (agent, other, third)]
    np.testing.assert_array_equal(acts[0], acts[1])
    np.testing.assert_array_equal(acts[0], acts[2])
    agent.predict(np.ones((5, 3)), deterministic=False)  # does not disturb what follows
    agent.learn(30)
    assert same(agent.agent.state_dict(), other.learn(30).agent.state_dict())
    assert other.num_timesteps == 80
    whole = GymAgent(name, env=env, **settings).learn(80)
    assert same(agent.agent.state_dict(), whole.agent.state_dict())
    assert main(["eval", str(tmp_path / "kept"), "--episodes", "1", "--json"]) == 0
    assert main(["train", "--resume", str(tmp_path / "kept"), "total_steps=80"]) == 0
    resumed = mbrl.load(tmp_path / "kept").agent.state_dict()
    assert same(resumed, whole.agent.state_dict())


@pytest.mark.filterwarnings("ignore:.*max_episode_steps is known")
@pytest.mark.parametrize("name", ["sb3_ppo", "random"])
def test_a_users_own_environment(name, tmp_path):
    env = Own()
    settings = {"agent.num_steps": 30, "learner.batch_size": 30} if name == "sb3_ppo" else {}
    agent = GymAgent(name, env=env, **settings).learn(70)
    action, _ = agent.predict(env.reset(seed=0)[0])
    assert action.shape == () and env.action_space.contains(action)
    assert agent.predict(np.zeros((3, 2, 1)))[0].shape == (3,)
    mean, _ = evaluate_policy(agent, Own(), n_eval_episodes=4, warn=False)
    assert -50 < mean < 0
    agent.save(tmp_path / "own")
    other = GymAgent.load(tmp_path / "own", env=Own())
    assert same(agent.learn(50).agent.state_dict(), other.learn(50).agent.state_dict())
    with pytest.raises(BadInput, match="env.name=Own: this environment exists only in Python"):
        mbrl.load(tmp_path / "own")
    assert type(mbrl.load(tmp_path / "own", Own()).agent) is type(agent.agent)


def test_a_planner_holds_its_action_and_begins_anew_when_told():
    agent = GymAgent("pets", env="pendulum", **PETS).learn(45)
    obs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)

    def acts(**options):
        return [agent.predict(o, **options)[0].item() for o in obs]

    first = acts()
    assert first[0] == first[1] and first[2] == first[3] and first[0] != first[2]
    agent.reset()
    assert acts() == first
    agent.reset()
    begun = [agent.predict(o, episode_start=[True])[0].item() for o in obs[1:]]
    assert begun[0] != begun[1]  # each is an episode's first: nothing is held
    agent.predict(obs)  # another number of rows begins anew, and so does going back
    assert agent.predict(obs[0])[0].shape == (1,)


def test_the_simulators_state_reaches_the_model():
    agent = GymAgent("pets", env="pendulum", **PETS)
    seen = []
    agent.agent.dynamics.observe = lambda state, action, obs, given: seen.append(given) or state
    agent.agent._seen = 100
    agent.predict(np.zeros(3), env_state=[1.0, 2.0])
    assert seen[0].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: GymAgent("mbpoo"), "did you mean agent=mbpo"),
        (lambda: GymAgent(env="pendulun"), "did you mean env=pendulum"),
        (lambda: GymAgent(learner={"hiden": 3}), "learner.hiden"),
        (lambda: GymAgent("random").learn(0), "total_timesteps=0"),
        (lambda: GymAgent("random").learn("20"), "total_timesteps='20': should be a whole number"),
        (lambda: GymAgent("random").learn(2e1), "total_timesteps=20.0: should be a whole number"),
        (lambda: GymAgent("random").learn(9, callback=None), "callback: GymAgent.learn takes no"),
        (lambda: GymAgent("random").learn(9, print), "GymAgent.learn: too many positional"),
        (lambda: GymAgent("random").evaluate(2.0), "num_episodes=2.0: should be a whole number"),
        (lambda: GymAgent("random").evaluate(2, seed=[1, 2]), r"seed=\[1, 2\]: should be a whole"),
        (lambda: GymAgent.load("nowhere", device="cpu"), "device: GymAgent.load takes no such"),
        (lambda: mbrl.load("nowhere", device="cpu"), "device: load takes no such"),
        (lambda: mbrl.load("pyproject.toml"), "pyproject.toml: a file, not a run folder"),
        (lambda: GymAgent("random").set_env(Push()), "set_env: .*GymAgent.load"),
        (lambda: GymAgent("random").policy, "policy: .*the agent itself is .agent"),
        (lambda: GymAgent("random").nonsense, "nonsense: a GymAgent has no such attribute$"),
        (lambda: GymAgent("random").predict([0.0, 1.0]), r"shape \(2,\) should be \(3,\)"),
        (lambda: GymAgent.load("nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line(call, words):
    with pytest.raises(BadInput, match=words):
        call()


def test_an_untrained_agent_is_kept_too(tmp_path):
    agent = GymAgent("sb3_sac", env="pendulum")
    agent.save(tmp_path / "new")
    other = GymAgent.load(tmp_path / "new")
    obs = np.ones((2, 3))
    np.testing.assert_array_equal(agent.predict(obs)[0], other.predict(obs)[0])
    other.learn(5)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="already there"):
        agent.save(tmp_path / "file")


class Push(gymnasium.Env):
    """A user's environment with a known reward: push a point to zero; 15 steps; float64."""

    observation_space = spaces.Box(-10, 10, (2,), np.float64)
    action_space = spaces.Box(-0.1, 0.1, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.point, self.age = self.np_random.uniform(-1, 1, 2), 0
        return self.point.copy(), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, action.dtype)
        self.point = 0.9 * self.point + action
        self.age += 1
        return self.point.copy(), -float((self.point**2).sum()), False, self.age == 15, {}


def reward(obs, action, next_obs):
    return -next_obs.square().sum(-1)


KNOWN = Task(reward=reward, obs_names=("x", "y"))
LIMIT = {"env.max_episode_steps": 20}
QUICK = {**PETS, "dynamics": {**PETS["dynamics"], "reward": "known"}}


@pytest.mark.parametrize("given", [Push(), Push, lambda: Push()], ids=["one", "class", "function"])
@pytest.mark.filterwarnings("ignore:.*max_episode_steps is known")
def test_an_own_environment_with_a_task_trains_saves_evaluates_and_reports(given, tmp_path, capsys):
    agent = GymAgent("pets", env=given, task=KNOWN, **QUICK).learn(60)
    assert agent.env.task is KNOWN
    score = agent.evaluate(3)
    assert score["eval/episodes"] == 3 and score["eval/mean_ep_length"] == 15
    assert score == agent.evaluate(3) != agent.evaluate(3, seed=7)
    page = agent.report(tmp_path / "run", num_episodes=2)
    assert page == tmp_path / "run/report.html" and "random" in page.read_text()

    for command in ("eval", "report"):
        assert main([command, str(tmp_path / "run")]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "GymAgent.load(RUN, env=..., task=...)" in err
    other = GymAgent.load(tmp_path / "run", given, task=KNOWN)
    assert other.evaluate(3)["eval/rewards"] == score["eval/rewards"]
    assert same(agent.learn(20).agent.state_dict(), other.learn(20).agent.state_dict())
    with pytest.raises(BadInput, match="task: .* was trained with a Task; give it again"):
        GymAgent.load(tmp_path / "run", Push())


def test_episodes_in_one_instance_are_those_in_copies():
    scores = [
        GymAgent("random", env=env, **{"env.max_episode_steps": 20}).evaluate(4)["eval/rewards"]
        for env in (Push(), Push)
    ]
    assert len(set(scores[0])) == 4
    one, copies = (GymAgent("sb3_sac", env=env, **LIMIT).evaluate(4) for env in (Push(), Push))
    np.testing.assert_allclose(one["eval/rewards"], copies["eval/rewards"], rtol=1e-5)


def test_limits_and_copies_reach_an_own_environment(tmp_path):
    agent = GymAgent("random", env=Push, **{"env.max_episode_steps": 4, "env.num_envs": 3})
    assert (agent.env.num_envs, agent.env.max_episode_steps) == (3, 4)
    assert agent.evaluate(2)["eval/mean_ep_length"] == 4
    agent.learn(30).save(tmp_path / "run")
    again = GymAgent.load(tmp_path / "run", Push)
    assert (again.env.num_envs, again.env.max_episode_steps) == (3, 4)
    with pytest.warns(UserWarning, match="Push: no max_episode_steps is known"):
        GymAgent("random", env=Push())


def test_a_task_is_taken_for_a_gymnasium_id_too():
    never = Task(reward=lambda o, a, n: torch.ones_like(n[:, 0]))
    agent = GymAgent("random", env="CartPole-v1", task=never)
    assert agent.env.task is never and agent.learn(30).num_timesteps == 30
    wrong = Task(reward=lambda o, a, n: -torch.ones_like(n[:, 0]))
    with pytest.raises(BadInput, match="it is -1 where the environment gave 1"):
        GymAgent("random", env="CartPole-v1", task=wrong).learn(30)


def test_a_registered_instance_is_evaluated_by_its_id(tmp_path, capsys):
    env = gymnasium.make("CartPole-v1", sutton_barto_reward=True)
    agent = GymAgent("random", env=env).learn(20)
    agent.save(tmp_path / "run")
    assert main(["eval", str(tmp_path / "run"), "--episodes", "2"]) == 0
    wrapped = gymnasium.wrappers.TransformReward(env, lambda r: 2 * r)
    GymAgent("random", env=wrapped).save(tmp_path / "other")
    assert main(["eval", str(tmp_path / "other")]) == 2
    assert "exists only in Python" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*max_episode_steps is known")
def test_predict_is_that_of_sb3_in_shapes_and_types():
    class Grid(Push):
        observation_space = spaces.Box(-10, 10, (2, 3), np.float32)
        action_space = spaces.Box(-1, 1, (2, 2), np.float64)

    class Choice(Push):
        action_space = spaces.Discrete(4)

    for env in (Push(), Grid(), Choice()):
        discrete = isinstance(env.action_space, spaces.Discrete)
        theirs = PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu")
        ours = GymAgent("sb3_ppo" if discrete else "sb3_sac", env=env)
        assert ours.observation_space == env.observation_space
        assert ours.action_space == env.action_space
        shape = env.observation_space.shape
        for obs in (np.zeros(shape), np.zeros((1, *shape)), np.zeros((5, *shape), np.float32)):
            for deterministic in (True, False):
                given = {"deterministic": deterministic}
                first, second = (m.predict(obs, **given)[0] for m in (ours, theirs))
                assert first.shape == second.shape and first.dtype == second.dtype
                assert isinstance(first, np.ndarray)
                single = obs.shape == shape
                assert env.action_space.contains(first if single else first[0])
        held = (np.zeros(3),)
        assert ours.predict(np.zeros(shape), state=held)[1] is held
        assert theirs.predict(np.zeros(shape), state=held)[1] is held
        for wrong in (np.zeros((2, *shape, 1)), np.zeros(7), (np.zeros(shape), {})):
            for model in (ours, theirs):
                with pytest.raises(ValueError):
                    model.predict(wrong)


@pytest.mark.parametrize(
    "given, words",
    [
        (lambda: {"obs": [np.nan, 0, 0]}, r"obs: nan at \(0,\) should be finite"),
        (lambda: {"obs": np.full((2, 3), np.inf)}, r"obs: inf at \(0, 0\)"),
        (lambda: {"obs": [1e300, 0, 0]}, "obs: inf at"),
        (lambda: {"obs": np.zeros((2, 4))}, r"obs: shape \(2, 4\) should be \(3,\) or \(B, 3\)"),
        (lambda: {"obs": np.zeros((0, 3))}, r"obs: shape \(0, 3\)"),
        (lambda: {"obs": "abc"}, "obs: a str should be numbers"),
        (lambda: {"obs": None}, "obs"),
        (lambda: {"obs": {"a": 1}}, "obs: a dict should be numbers"),
        (lambda: {"obs": np.array(["1", "2", "3"])}, "obs: an array of <U1 should be numbers"),
        (lambda: {"obs": np.array([1, 2, None])}, "obs"),
        (lambda: {"obs": np.zeros(3), "deterministic": "no"}, "deterministic='no': should be True"),
        (lambda: {"obs": np.zeros(3), "episode_start": [True] * 2}, "episode_start: shape"),
        (lambda: {"obs": np.zeros((2, 3)), "episode_start": np.ones((2, 3))}, "episode_start: sha"),
        (lambda: {"obs": ([0, 0, 0], {})}, r"obs, info = env.reset\(\)"),
        (lambda: {"obs": np.zeros((2, 3)), "episode_start": [True] * 3}, "episode_start: shape"),
        (lambda: {"obs": np.zeros((2, 3)), "env_state": np.zeros(5)}, "env_state: shape"),
    ],
)
def test_what_predict_cannot_use_is_named(given, words):
    agent = GymAgent("random", env="pendulum")
    agent.predict(np.zeros((2, 3)))
    with pytest.raises(BadInput, match=words) as caught:
        agent.predict(**given())
    assert "\n" not in str(caught.value)


GIVEN = Push()


@pytest.mark.parametrize(
    "given, words",
    [
        (lambda: {"env": VecNormalize(DummyVecEnv([Push]))}, "VecNormalize .*Stable-Baselines3"),
        (lambda: {"env": DummyVecEnv([Push])}, "DummyVecEnv is a vector environment"),
        (lambda: {"env": gymnasium.make_vec("CartPole-v1", 2)}, "is a vector environment of gym"),
        (lambda: {"env": 3}, "env: a int should be a name, a gymnasium id"),
        (lambda: {"env": None}, "env=None: should be"),
        (lambda: {"env": []}, "envs=.*at least one"),
        (lambda: {"env": lambda: 3}, "env: the function returned a int"),
        (lambda: {"env": [GIVEN, GIVEN]}, "envs: number 1 is the same object as number 0"),
        (lambda: {"env": Push(), "env.num_envs": 2}, "num_envs=2: 1 were given"),
        (lambda: {"env": Push(), "env.task": KNOWN}, "env.task: a Task should .*given as task="),
        (lambda: {"env": Push(), "task": {"reward": reward}}, "task: a dict should be"),
        (lambda: {"env": Push(), "task": Task(obs_names=("x",))}, "task.obs_names: 1 names"),
        (lambda: {"env": "pendulum", "task": KNOWN}, "task: env=pendulum states what is known"),
        (lambda: {"env": Push(), "env.kwargs": {"a": 1}}, "env.kwargs"),
        (lambda: {"env": Push(), "learner.hidden": Push}, "learner.hidden: a type should be"),
    ],
)
def test_what_cannot_be_an_environment_is_named(given, words):
    with pytest.raises(BadInput, match=words) as caught:
        GymAgent("random", **given())
    assert "\n" not in str(caught.value)


def test_an_environment_that_is_no_vec_env_is_named():
    agent = GymAgent("random", env="pendulum").agent
    for env in (Push(), 3, DummyVecEnv([Push])):
        with pytest.raises(BadInput, match=r"env: a .* should be a VecEnv"):
            mbrl.train(env, agent, 10)
    with pytest.raises(BadInput, match="id=.*Push.* should be text"):
        mbrl.make_vec(Push())
    own = GymAgent("random", env=mbrl.make_vec("Pendulum-v1", num_envs=2))
    assert own.learn(20).evaluate(3)["eval/episodes"] == 3


def test_a_save_that_fails_leaves_the_run_that_was_there(tmp_path, monkeypatch):
    agent = GymAgent("random", "pendulum")
    agent.save(tmp_path / "run")
    before = sorted((p, p.read_bytes()) for p in (tmp_path / "run").rglob("[!.]*") if p.is_file())

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mbrl.training.run_folder._encode", fail)
    with pytest.raises(OSError, match="No space left"):
        agent.save(tmp_path / "run")
    after = sorted((p, p.read_bytes()) for p in (tmp_path / "run").rglob("[!.]*") if p.is_file())
    assert [p for p, _ in after] == [p for p, _ in before] and [*tmp_path.iterdir()] == [
        tmp_path / "run"
    ]
    monkeypatch.undo()
    agent.save(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("x")
    with pytest.raises(BadInput, match="other: already there, and no run"):
        agent.save(tmp_path / "other")


@pytest.mark.filterwarnings("ignore:.*max_episode_steps is known")
def test_an_action_is_inside_a_space_between_whose_bounds_no_float32_lies():
    class Narrow(Push):
        action_space = spaces.Box(1e8 + 1, 1e8 + 2, (1,), np.float64)

    agent = GymAgent("random", env=Narrow())
    for obs in (np.zeros(2), np.zeros((3, 2))):
        action = agent.predict(obs)[0]
        assert Narrow.action_space.contains(action if obs.ndim == 1 else action[0])


@pytest.mark.filterwarnings("ignore:.*max_episode_steps is known")
def test_what_a_function_that_makes_an_environment_raises_is_named():
    def broken():
        raise RuntimeError("no\nlicense")

    for make, words in ((broken, "RuntimeError .*: no license"), (lambda x: x, "TypeError .*'x'")):
        with pytest.raises(EnvironmentFault, match=f"environment 0, step 0: raised {words}"):
            GymAgent("random", env=make)


def test_numbers_of_numpy_are_settings():
    given = {"learner.batch_size": np.int64(16), "learner.learning_rate": np.float32(0.5)}
    config = GymAgent("sac", env="pendulum", **given)._run.config
    assert config["learner"]["batch_size"] == 16 and config["learner"]["learning_rate"] == 0.5


def test_a_buffer_that_does_not_fit_in_memory_is_named():
    with pytest.raises(BadInput, match=r"buffer_size=1000000000000: needs more memory"):
        GymAgent("random", env="pendulum", buffer_size=10**12)


def test_an_environment_given_to_a_loaded_agent_should_be_like_its_own(tmp_path):
    GymAgent("random", env="pendulum").learn(5).save(tmp_path / "run")
    with pytest.raises(
        BadInput, match="env: observations of 11 numbers and actions of 3, but .* 3 "
    ):
        GymAgent.load(tmp_path / "run", env=gymnasium.make("mbrl/Hopper-v5"))
    other = GymAgent.load(tmp_path / "run", env=gymnasium.make("mbrl/Pendulum-v1"))
    assert other.predict(np.zeros(3))[0].shape == (1,)
    with pytest.raises(BadInput, match="trained in env=pendulum.*leave env out of GymAgent.load"):
        other.learn(5)
    assert GymAgent.load(tmp_path / "run").learn(5).num_timesteps == 10
    GymAgent("random", env=gymnasium.make("mbrl/Pendulum-v1")).learn(5).save(tmp_path / "same")
    again = GymAgent.load(tmp_path / "same", env=gymnasium.make("mbrl/Pendulum-v1"))
    assert again.learn(5).num_timesteps == 10


def test_a_copy_of_an_agent_learns_the_same():
    agent = GymAgent("sac", env=mbrl.make_vec("Hopper-v5"), **{"agent.learning_starts": 10})
    agent.learn(15)
    other = copy.deepcopy(agent)
    assert same(agent.learn(15).agent.state_dict(), other.learn(15).agent.state_dict())
