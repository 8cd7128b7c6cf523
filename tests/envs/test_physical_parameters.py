"""Physical parameters that differ from episode to episode."""

import copy

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import mbrl
from mbrl.dynamics import Simulator
from mbrl.envs import tasks, threaded_mujoco
from mbrl.errors import BadInput
from mbrl.planners import ICEM
from tests.envs.test_mujoco_batch import ARM, MOTOR, Arm

RANGES = {"body_mass": [0.8, 1.2], "geom_friction": [0.5, 1.5], "delay": [0.0, 0.02]}
FIELDS = {
    "body_mass": ("body_mass", "body_inertia"),
    "geom_friction": ("geom_friction",),
    "actuator_gain": ("actuator_gainprm", "actuator_biasprm"),
    "dof_damping": ("dof_damping",),
}


def make(num_envs=3, randomize=RANGES, **options):
    return threaded_mujoco(
        tasks.Hopper(), num_envs=num_envs, randomize=randomize, dtype=torch.float64, **options
    )


@pytest.mark.parametrize("name", FIELDS)
def test_physics_are_those_of_a_model_with_these_numbers(name):
    env = make(randomize={name: [0.5, 1.5]})
    env.reset(4)
    factor = env.env_state()[:, -1]
    assert 0.5 <= factor.min() < factor.max() <= 1.5
    state = env.simulation.get_state()
    actions = [torch.full((3, 3), 0.02 * t) for t in range(10)]
    steps = [env.step(action).next_obs for action in actions]
    for row in range(3):
        model = mujoco.MjModel.from_xml_path(str(tasks.Hopper.model_path))
        for field in FIELDS[name]:
            getattr(model, field)[:] *= factor[row].item()
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        mujoco.mj_setState(model, data, state[row, :-1], mujoco.mjtState.mjSTATE_INTEGRATION)
        for action, obs in zip(actions, steps, strict=True):
            data.ctrl[:] = action[row]
            mujoco.mj_step(model, data, 4)
            np.testing.assert_array_equal(obs[row, :5], data.qpos[1:])


def test_a_control_takes_effect_after_the_delay(tmp_path):
    (tmp_path / "arm.xml").write_text(
        f'<mujoco><option gravity="0 0 0"/><worldbody>{ARM}</worldbody>{MOTOR}</mujoco>'
    )
    for delay, steps in ((0.0, 0), (0.006, 1), (0.012, 2)):  # of 3 times 2 ms
        env = threaded_mujoco(
            Arm(tmp_path / "arm.xml"), randomize={"delay": [delay, delay]}, dtype=torch.float64
        )
        start = env.reset(0)[0, 0]
        moved = [(env.step(torch.ones(1, 1)).next_obs[0, 0] - start).abs() for _ in range(5)]
        assert [m.item() > 0 for m in moved] == [t >= steps for t in range(5)]


def test_without_ranges_episodes_are_gymnasiums_and_with_them_starts_follow_the_seed():
    env, again = make(), make()
    first, parameters = env.reset(7), env.env_state()[:, -3:]
    assert again.reset(7).equal(first) and again.env_state()[:, -3:].equal(parameters)
    assert len(set(parameters[:, 0].tolist())) == 3
    env.reset()
    assert not env.env_state()[:, -3:].equal(parameters)
    plain = threaded_mujoco(tasks.Hopper(), dtype=torch.float64)
    theirs = gymnasium.make("Hopper-v5").reset(seed=7)[0]
    np.testing.assert_array_equal(plain.reset(7)[0], theirs)


def test_a_resumed_run_and_sequences_have_the_episodes_parameters():
    env, other = make(), make()
    env.reset(1)
    draws = torch.Generator().manual_seed(0)
    actions = [env.action.sample(3, generator=draws) for _ in range(12)]
    for action in actions[:4]:
        env.step(action)
    other.load_state_dict(copy.deepcopy(env.state_dict()))
    twin = copy.deepcopy(env)
    seen, last = env.simulate(env.env_state(), torch.stack(actions[4:], 1), with_state=True)
    alive = torch.ones(3, dtype=torch.bool)
    for t, action in enumerate(actions[4:]):
        step = env.step(action)
        assert step.next_obs.equal(other.step(action).next_obs)
        assert step.next_obs.equal(twin.step(action).next_obs)
        assert step.next_obs[alive].equal(seen.next_obs[alive, t])
        alive &= ~step.terminated
    assert alive.any() and last[alive].equal(env.env_state()[alive])


def test_the_simulator_plans_with_the_episodes_the_nominal_or_drawn_parameters():
    env = make()
    obs = env.reset(1)
    state, width = env.env_state(), env.num_parameters
    zeros = torch.zeros(3, 3)

    def seen(parameters, particles):
        model = Simulator(env=env, parameters=parameters, generator=5)
        blank = model.initial(obs, num_particles=particles)
        return model.observe(blank, zeros, obs, state).view(particles, 3, -1)

    assert (seen("episode", 2) == state).all()
    nominal = seen("nominal", 2)
    assert (nominal[..., :-width] == state[:, :-width]).all()
    assert (nominal[..., -width:] == torch.tensor([1.0, 1.0, 0.0])).all()
    drawn = seen("drawn", 16)[..., -width:]
    assert (drawn == drawn[:, :1]).all() and len(drawn[:, 0].unique(dim=0)) == 16
    assert seen("drawn", 16)[..., -width:].equal(drawn)
    low, high = (torch.tensor([each[i] for each in RANGES.values()]) for i in (0, 1))
    assert (drawn >= low).all() and (drawn <= high).all()
    with pytest.raises(BadInput, match="parameters=drawn: needs num_particles of more than 1"):
        seen("drawn", 1)
    with pytest.raises(BadInput, match="parameters=drawn: the environment has the same physics"):
        Simulator(env=mbrl.make_vec("Hopper-v5"), parameters="drawn")


def test_a_plan_holds_for_all_draws():
    env = make(num_envs=1, randomize={"actuator_gain": [0.5, 1.5]})
    obs = env.reset(0)
    model = Simulator(env=env, parameters="drawn")
    planner = ICEM(
        action=env.action, horizon=4, num_samples=16, num_iterations=2, num_particles=4, risk=0.5
    )
    state = model.initial(obs, num_particles=4)
    state = model.observe(state, torch.zeros(1, 3), obs, env.env_state())
    draws = torch.Generator().manual_seed(0)
    plan = planner.plan(state, model, generator=draws)
    alone = model.simulate(state, plan.actions.expand(4, -1, -1)).reward.sum(1).sort().values
    assert plan.value.item() == pytest.approx(alone[:2].mean().item(), rel=1e-6)


def test_a_model_with_delays_of_its_own_is_named(tmp_path):
    motor = MOTOR.replace("<motor ", '<motor delay="0.004" nsample="3" ')
    (tmp_path / "arm.xml").write_text(f"<mujoco><worldbody>{ARM}</worldbody>{motor}</mujoco>")
    with pytest.raises(BadInput, match="^randomize: delay: the model has delays of its own"):
        threaded_mujoco(Arm(tmp_path / "arm.xml"), randomize={"delay": [0, 0.02]})


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"body_mas": [0.8, 1.2]}, "body_mas should be a parameter .*; did you mean body_mass"),
        ({"geom_type": [0.8, 1.2]}, "geom_type should be a parameter of the model"),
        ({"body_mass": [1.2, 0.8]}, r"body_mass=\[1.2, 0.8\] should be the lowest and the highest"),
        ({"dof_damping": [-1, 1]}, "of at least 0"),
        ({"body_mass": [1.0]}, "should be the lowest and the highest value"),
        ({"body_mass": 1.0}, "body_mass=1.0 should be the lowest and the highest"),
        ({"delay": [0, float("inf")]}, "seconds of at least 0"),
        ({"body_mass": [0, 1]}, "factors of the model's own numbers above 0"),
        ({"body_mass": [True, 2]}, "should be the lowest and the highest"),
        ({"body_mass": [1, 1e308]}, r"body_mass: 1e\+308 times the model's own is not finite"),
        (
            {"delay": [0, 1e300]},
            r"^randomize: delay: 1e\+300 s are 5e\+302 timesteps .* fewer than 16777216",
        ),
        ({1: [0, 1]}, "1 should be a parameter of the model's physics"),
        ({"opt.disableflags": [1, 2]}, "physics; such as body_mass, actuator_gain"),
        # of another kind: color, derived by mj_setConst, what the compiler derives from, time
        ({"geom_rgba": [1, 2]}, "geom_rgba should be a parameter"),
        ({"dof_M0": [1, 2]}, "dof_M0 should be a parameter"),
        ({"geom_size": [1, 2]}, "geom_size should be a parameter"),
        ({"opt.timestep": [1, 2]}, "opt.timestep should be a parameter"),
        ({"jnt_stiffness": [1, 2]}, "should be .* that the model has; all its jnt_stiffness are 0"),
        ({"tendon_damping": [1, 2]}, "all its tendon_damping are 0"),
        (
            {"body_mass": [1, 2], "body_inertia": [1, 2]},
            "body_inertia and body_mass both change body_inertia; should be one of them",
        ),
        ({"gravity": [1, 2], "opt.gravity": [1, 2]}, "both change opt.gravity"),
    ],
)
def test_what_is_no_range_is_named(ranges, words):
    with pytest.raises(BadInput, match=words):
        make(randomize=ranges)
