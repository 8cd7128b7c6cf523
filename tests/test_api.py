"""Agents in SB3's shape: learn, predict, save, load, on named environments and on one's own."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

import mbrl
from mbrl.api import GymAgent
from mbrl.cli import main
from mbrl.errors import BadInput
from tests.contracts.test_agent import SMALL, flat

PETS = {
    "experiment": "none",
    "dynamics": SMALL["dynamics"]["ensemble"],
    "planner": SMALL["planner"]["icem"] | {"action_hold": 2},
    "agent.learning_starts": 40,
    "agent.retrain_interval": 40,
}
MBPO = {
    "experiment": "none",
    "dynamics": SMALL["dynamics"]["ensemble"],
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
    with pytest.raises(BadInput, match="Own"):
        mbrl.load(tmp_path / "own")


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
