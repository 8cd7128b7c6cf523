"""Simulations of one model against one MjData each, stepped by MuJoCo itself."""

import copy

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError

from mbrl.envs import MujocoTask, threaded_mujoco
from mbrl.envs.mujoco_batch import Physics
from mbrl.envs.physical_parameters import PhysicalParameters
from mbrl.envs.tasks.common import GYMNASIUM_ASSETS
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.types import Task

FORCES = ("cacc", "cfrc_int", "cfrc_ext")
FIELDS = ("xpos", "cinert", "cvel", "qfrc_actuator", "actuator_force", *FORCES)
ARM = '<body pos="0 0 2"><joint name="j" axis="0 1 0"/><geom type="capsule" size=".05 .3"/></body>'
MOTOR = '<actuator><motor joint="j" ctrlrange="-1 1"/></actuator>'
FEATURES = {
    "delays": f"""<mujoco><worldbody>{ARM}</worldbody><actuator>
        <motor joint="j" ctrlrange="-1 1" delay="0.02" nsample="12"/></actuator></mujoco>""",
    "activations": f"""<mujoco><worldbody>{ARM}</worldbody><actuator>
        <general joint="j" dyntype="filter" dynprm=".1" ctrlrange="-1 1"/></actuator></mujoco>""",
    "mocap": f"""<mujoco><worldbody>{ARM}<body mocap="true" pos="0 0 2.3"><geom size=".1"/></body>
        </worldbody>{MOTOR}</mujoco>""",
    "pid": f"""<mujoco><extension><plugin plugin="mujoco.pid"><instance name="p">
        <config key="kp" value="40"/><config key="ki" value="40"/><config key="slewmax" value="3"/>
        </instance></plugin></extension><worldbody>{ARM}</worldbody><actuator><plugin instance="p"
        plugin="mujoco.pid" joint="j" actdim="2" ctrlrange="-1 1"/></actuator></mujoco>""",
    "cable": f"""<mujoco><extension><plugin plugin="mujoco.elasticity.cable"/></extension>
        <worldbody>{ARM}<composite type="cable" curve="s" count="7 1 1" size=".5" offset="0 0 .3"
        initial="none"><plugin plugin="mujoco.elasticity.cable"><config key="bend" value="4e6"/>
        <config key="twist" value="1e7"/></plugin><joint kind="main" damping=".015"/>
        <geom type="capsule" size=".005" condim="1"/></composite></worldbody>{MOTOR}</mujoco>""",
}


class Arm(MujocoTask):
    """A model whose positions are observed; its first joint starts at random."""

    frame_skip, max_episode_steps, task, ends = 3, 200, Task(), False

    def __init__(self, path):
        self.model_path = path

    def start(self, qpos, qvel, generator):
        qpos[0] += generator.uniform(-1, 1)

    def observe(self, now):
        return np.concatenate([now["qpos"], now["qvel"]], 1)

    def outcome(self, before, action, now, dt):
        return now["qpos"][:, 0].copy(), np.zeros(len(action), dtype=bool)


@pytest.fixture
def make(tmp_path):
    def build(xml, num_envs=3, **options):
        path = tmp_path / "model.xml"
        path.write_text(xml)
        return threaded_mujoco(Arm(path), num_envs=num_envs, dtype=torch.float64, **options)

    return build


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("name", ["ant", "humanoid", "pusher_v5"])
def test_fields_are_those_of_one_mjdata_for_each(name, threads):
    """Forces as after mj_rnePostConstraint; 0 after a reset, as in gymnasium."""
    model = mujoco.MjModel.from_xml_path(str(GYMNASIUM_ASSETS / f"{name}.xml"))
    physics = Physics(model, FIELDS, PhysicalParameters({}), num_sims=4, num_threads=threads)
    draws = np.random.default_rng(0)
    controls = draws.uniform(-0.4, 0.4, (25, 4, model.nu))
    start = draws.uniform(-0.05, 0.05, (4, model.nv))
    qpos = np.tile(mujoco.MjData(model).qpos, (4, 1))
    physics.reset(np.arange(4, dtype=np.int32), qpos, start, np.empty((4, 0)))
    assert not any(physics.read()[force].any() for force in FORCES)
    path = []
    for control in controls:
        physics.step(control, num_substeps=5)
        path.append(physics.read())
    touched = 0
    for row in range(4):
        data = mujoco.MjData(model)
        data.qvel[:] = start[row]
        mujoco.mj_forward(model, data)
        for control, now in zip(controls, path, strict=True):
            data.ctrl[:] = control[row]
            mujoco.mj_step(model, data, 5)
            mujoco.mj_rnePostConstraint(model, data)
            touched += data.ncon
            for field in ("qpos", "qvel", *FIELDS):
                np.testing.assert_array_equal(now[field][row], getattr(data, field), field)
    assert touched > 20 or name == "pusher_v5"
    physics.reset(np.array([1], dtype=np.int32), qpos[:1], start[:1], np.empty((1, 0)))
    again = physics.read()
    assert not any(again[force][1].any() for force in FORCES)
    assert all((again[force][0] == path[-1][force][0]).all() for force in FORCES)


def test_only_the_chosen_simulations_are_stepped():
    model = mujoco.MjModel.from_xml_path(str(GYMNASIUM_ASSETS / "ant.xml"))
    physics = Physics(model, ("cfrc_ext",), PhysicalParameters({}), num_sims=3, num_threads=1)
    twin = copy.deepcopy(physics)
    rows = np.array([0, 2], dtype=np.int32)
    control = np.full((2, model.nu), 0.3)
    before = physics.state.copy()
    for _ in range(20):
        physics.step(control, num_substeps=5, rows=rows)
        twin.step(np.full((3, model.nu), 0.3), num_substeps=5)
    assert (physics.state[1] == before[1]).all()
    assert (physics.state[rows] == twin.state[rows]).all()
    assert (physics.read(rows)["cfrc_ext"] == twin.read()["cfrc_ext"][rows]).all()


@pytest.mark.parametrize("feature", FEATURES)
def test_a_run_goes_on_bit_for_bit_and_sequences_are_as_stepped(make, feature):
    env, other = make(FEATURES[feature], num_threads=2), make(FEATURES[feature])
    env.reset(0)
    draws = torch.Generator().manual_seed(0)
    actions = [env.action.sample(3, generator=draws) for _ in range(60)]
    for action in actions[:30]:
        env.step(action)
    other.load_state_dict(copy.deepcopy(env.state_dict()))
    seen, last = env.simulate(env.env_state(), torch.stack(actions[30:], 1), with_state=True)
    for t, action in enumerate(actions[30:]):
        step = env.step(action)
        assert step.next_obs.equal(other.step(action).next_obs)
        assert step.next_obs.equal(seen.next_obs[:, t])
    assert last.equal(env.env_state()) and last.equal(other.env_state())


@pytest.mark.parametrize("feature", ["sleep", "ipc"])
def test_what_no_state_holds_is_refused_by_name(make, feature):
    flag = f'<option integrator="discrete" solver="CG"><flag {feature}="enable"/></option>'
    with pytest.raises(
        BadInput, match=f'its option flag {feature}="enable" .* should be "disable"'
    ):
        make(f"<mujoco>{flag}<worldbody>{ARM}</worldbody>{MOTOR}</mujoco>")


def test_a_strange_plugin_is_refused_by_name(make, monkeypatch):
    class Stranger:
        plugins = [type("Plugin", (), {"plugin_name": "acme.muscle"})]

    monkeypatch.setattr(mujoco.MjSpec, "from_file", lambda path: Stranger)
    with pytest.raises(BadInput, match="its plugin acme.muscle may keep what no state holds"):
        make(FEATURES["pid"])


def test_an_error_of_mujoco_names_the_simulation(make, monkeypatch):
    env = make(FEATURES["delays"])
    env.reset(0)
    batch = env.simulation.physics._batch

    def full(rows, **options):
        raise SimulationError(np.array([1]), "stack overflow")

    monkeypatch.setattr(batch, "step", full)
    with pytest.raises(EnvironmentFault, match="environment 1, step 1: MuJoCo raised an error"):
        env.step(torch.zeros(3, 1))
