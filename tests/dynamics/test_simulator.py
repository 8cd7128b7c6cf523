"""The simulator as a model: planners see the truth, blow-ups cost, misfits are refused."""

import json
import re
import warnings

import pytest
import torch

import mbrl
from mbrl.agents import MPC, Dyna
from mbrl.api import LoadedAgent
from mbrl.cli import main
from mbrl.config import compose
from mbrl.dynamics import Simulator
from mbrl.dynamics.base import candidates_of
from mbrl.errors import BadInput
from mbrl.imagination.rollout import rollout
from mbrl.planners import CEM, ICEM, MPPI
from mbrl.roles import Model
from mbrl.training.run_folder import RunFolder
from tests.contracts.test_agent import flat
from tests.toys import ACTION, ToyEnv, ToyLearner, collect, generator

IDS = ["HalfCheetah-v5", "Hopper-v5", "CartpoleSwingup-v0", "Reacher-v5", "Pendulum-v1"]
IDS += ["Ant-v5", "Humanoid-v5", "Pusher-v5"]


class Counted:
    """An environment's simulate, counted."""

    def __init__(self, env):
        self.env, self.calls = env, 0

    def simulate(self, state, action, *, with_state=False):
        self.calls += 1
        return self.env.simulate(state, action, with_state=with_state)


def begin(id: str, num_envs: int = 2):
    env = mbrl.make_vec(id, num_envs=num_envs, dtype=torch.float64)
    return env, env.reset(0)


@pytest.mark.parametrize("id", IDS)
def test_the_value_of_a_plan_is_what_the_environment_then_pays(id):
    env, obs = begin(id)
    model = Simulator(env=env)
    assert isinstance(model, Model)
    actions = torch.stack([env.action.sample(2, generator=generator(t)) for t in range(12)], 1)
    state = model.observe(model.initial(obs), actions[:, 0], obs, env.env_state())
    value = rollout(model, state, actions[:, None], hold=2, discount=0.9).value[:, 0]
    paid, alive = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.bool)
    for t in range(24):
        step = env.step(actions[:, t // 2])
        paid += torch.where(alive, 0.9**t * step.reward, 0)
        alive &= ~step.terminated
    torch.testing.assert_close(value, paid, rtol=1e-14, atol=1e-14)  # the order of the sum


@pytest.mark.parametrize("id", IDS)
def test_stepping_and_simulating_whole_sequences_give_the_same_values(id):
    env, obs = begin(id)
    model = Simulator(env=env)
    state = model.observe(model.initial(obs, num_particles=2), obs, obs, env.env_state())
    draws = generator(1)
    actions = env.action.sample(2 * 3 * 15, generator=draws).view(2, 3, 15, -1)
    whole = rollout(model, state, actions, num_particles=2).value
    stepped = rollout(model, state, actions, num_particles=2, with_uncertainty=True)
    assert whole.equal(stepped.value) and (stepped.uncertainty == 0).all()


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI])
def test_every_sampling_planner_asks_once_an_iteration(planner):
    env, obs = begin("HalfCheetah-v5", num_envs=1)
    counted = Counted(env)
    model = Simulator(env=counted)
    state = model.observe(model.initial(obs), obs, obs, env.env_state())
    chooses = planner(action=env.action, horizon=5, num_samples=30, num_iterations=3)
    plan = chooses.plan(state, model, generator=generator())
    assert counted.calls == 3 + (planner is CEM)  # CEM scores its mean too
    if planner is not MPPI:  # its value is expected, not its plan's
        alone = rollout(model, state, plan.actions[:, None]).value[0]
        torch.testing.assert_close(plan.value, alone.float())


def test_what_blows_up_is_named_once_and_never_chosen():
    env, obs = begin("Hopper-v5", num_envs=3)
    model = Simulator(env=env, blow_up_cost=1e4)
    state = env.env_state()
    state[1, 1 + env.simulation.model.nq] = 1e200
    actions = torch.zeros(3, 8, 3)
    with pytest.warns(
        UserWarning, match="1 of 3 imagined sequences blew up, the earliest in step 1"
    ):
        seen = model.simulate(state, actions)
    assert seen.reward[1].tolist() == [-1e4] + [0] * 7 and not seen.valid[1].any()
    assert all(torch.isfinite(part.double()).all() for part in seen[:4])
    assert seen.valid[[0, 2]].all() and (seen.reward[[0, 2]] > 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = rollout(model, state, actions[:, None]).value
        following, once = model.step(state, actions[:, 0])
    assert value[1] == -1e4 and value[0] > 0
    assert once.reward[1] == -1e4 and following[1].equal(state[1])
    assert torch.isfinite(once.next_obs).all() and not following[0].equal(state[0])


def test_candidates_are_the_one_truth():
    env, obs = begin("Reacher-v5")
    model, action = Simulator(env=env), env.action.sample(2, generator=generator())
    state = env.env_state()
    following, seen = candidates_of(model, state, action, 3, generator=generator())
    one, truth = model.step(state, action)
    assert following.equal(one.repeat(3, 1)) and seen.next_obs.equal(truth.next_obs.repeat(3, 1))
    assert seen.reward.equal(truth.reward.repeat(3))


def test_nothing_is_fitted_and_planning_begins_at_once():
    env, obs = begin("Pendulum-v1")
    planner = CEM(action=env.action, horizon=8, num_samples=40, num_iterations=2)
    agent = MPC(
        action=env.action, dynamics=Simulator(env=env), planner=planner, generator=generator()
    )
    first = agent.act(obs, explore=True, env_state=env.env_state())
    assert first.equal(agent._training.hold.action)
    real = collect(env, 300)  # past learning_starts and retrain_interval
    assert agent.update(real) == {} == agent.dynamics.fit(real.all(), generator=generator())


def test_what_the_message_advises_works():
    env, obs = begin("Pendulum-v1")
    planner = CEM(action=env.action, horizon=3, num_samples=10, num_iterations=1)
    agent = MPC(
        action=env.action, dynamics=Simulator(env=env), planner=planner, generator=generator()
    )
    loaded = LoadedAgent(agent, env)
    names = {"obs": obs, "env": env, "predict": loaded.predict, "act": agent.act}
    with pytest.raises(BadInput) as refused:
        loaded.predict(obs)
    advised = re.findall(r"(?:predict|act)\(.*?\)\)", str(refused.value))
    assert len(advised) == 2
    for call in advised:
        action = eval(call, dict(names))
        assert len(action[0] if isinstance(action, tuple) else action) == len(obs)


def test_what_does_not_fit_is_refused_in_one_line():
    foreign = mbrl.make_vec("CartPole-v1")
    with pytest.raises(BadInput, match=r"env: GymnasiumVecEnv has no simulator.*hopper.*Ensemble"):
        Simulator(env=foreign)  # pyright: ignore[reportArgumentType]
    model = Simulator(env=ToyEnv())
    with pytest.raises(BadInput, match="planning agent such as pets"):
        Dyna(action=ACTION, dynamics=model, learner=ToyLearner(), generator=generator())
    blind = model.observe(model.initial(torch.zeros(2, 2)), torch.zeros(2, 1), torch.zeros(2, 2))
    with pytest.raises(BadInput, match=r"predict\(obs, env_state=env.env_state\(\)\)"):
        model.simulate(blind, torch.zeros(2, 3, 1))
    with pytest.raises(BadInput, match=r"predict\(obs, env_state=env.env_state\(\)\)"):
        model.step(blind, torch.zeros(2, 1))


SHORT = ["train", "agent=pets", "dynamics=simulator"]


def test_one_short_command_plans_on_the_truth_and_goes_on_bit_for_bit(tmp_path, capsys):
    arguments = [*SHORT, "env=pendulum", "planner.horizon=20", "planner.num_samples=40"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments += ["eval_every=1000", "save_every=20", "eval_episodes=3"]
    assert main([*arguments, "total_steps=40", f"run_dir={whole}"]) == 0
    assert main([*arguments, "total_steps=20", f"run_dir={broken}"]) == 0
    assert main(["train", f"--resume={broken}", "total_steps=40"]) == 0
    assert "the preset's dynamics settings are left out" in capsys.readouterr().out
    ends = [RunFolder.open(path).load("buffer", "agent") for path in (whole, broken)]
    one, other = ({**end["agent"], **end["buffer"]} for end in ends if end is not None)
    leaves = tuple(flat(part) for part in (one, other))
    assert leaves[0].keys() == leaves[1].keys()
    for key, leaf in leaves[0].items():
        same = (
            leaf.equal(leaves[1][key]) if isinstance(leaf, torch.Tensor) else leaf == leaves[1][key]
        )
        assert same, key
    rewards = json.loads((whole / "summary.json").read_text())["evaluations"][-1]["rewards"]
    assert all(-400 < reward <= 0 for reward in rewards)
    assert main(["eval", str(whole), "--episodes", "1", "--json"]) == 0
    with pytest.raises(BadInput, match=r"predict\(obs, env_state=env.env_state\(\)\)"):
        mbrl.load(whole).predict(torch.zeros(3))


def test_the_cart_poles_preset_is_found_by_the_three_names():
    composed = compose([*SHORT[1:], "env=cartpole_swingup"])
    assert composed.config["planner"]["action_hold"] == 4
    assert composed.config["planner"]["horizon"] == 25  # 1 s
    assert "pets_simulator_cartpole_swingup" in composed.notes[0]


@pytest.mark.parametrize("env", ["cartpole", "acrobot", "mountain_car_continuous"])
def test_a_foreign_environment_is_refused_before_anything_is_built(env, tmp_path, capsys):
    assert main([*SHORT, f"env={env}", f"run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"env={env} does not provide: choose env=" in error
    assert "env=hopper" in error and not (tmp_path / "run").exists()


def test_the_true_model_has_no_gradient_for_a_planner(capsys):
    assert main([*SHORT, "planner=gradient"]) == 2
    assert "needs differentiable" in capsys.readouterr().err
