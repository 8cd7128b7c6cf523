"""A task of one's own: a mass on a frictionless slider, whose motion is known in closed form."""

import copy
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from mbrl.envs import MujocoTask, tasks, threaded_mujoco
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.types import Task

MASS, DT, SKIP = 2.0, 0.01, 3
MJCF = f"""
<mujoco>
  <option timestep="{DT}" gravity="0 0 0" integrator="Euler"/>
  <worldbody>
    <body>
      <joint name="x" type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.1" mass="{MASS}"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


class Slider(MujocoTask):
    """Starts at 1 with speed 2; pays the actuator's force, ends beyond 1.5."""

    frame_skip, max_episode_steps, task = SKIP, 50, Task()
    fields = ("actuator_force",)

    def start(self, qpos, qvel, generator):
        qpos[:], qvel[:] = qpos + 1, qvel + 2

    def observe(self, now):
        return np.concatenate([now["qpos"], now["qvel"]], 1)

    def outcome(self, before, action, now, dt):
        speed = (now["qpos"] - before["qpos"])[:, 0] / dt
        return now["actuator_force"][:, 0] + 100 * speed, now["qpos"][:, 0] > 1.5


class Reversed(Slider):
    """The same with the motor turned round."""

    steers = True

    def control(self, before, action):
        return -action


@pytest.fixture
def make(tmp_path):
    (tmp_path / "slider.xml").write_text(MJCF)

    def build(task, **options):
        task.model_path = tmp_path / "slider.xml"
        return threaded_mujoco(task, dtype=torch.float64, **options)

    return build


def by_hand(x, v, force):
    """Step the mass: each of SKIP steps changes the speed first, then the position."""
    start = x
    for _ in range(SKIP):
        v = v + DT * force / MASS
        x = x + DT * v
    return x, v, force + 100 * (x - start) / (DT * SKIP)


@pytest.mark.parametrize(("task", "sign"), [(Slider, 1), (Reversed, -1)])
def test_steps_are_those_by_hand(make, task, sign):
    env = make(task(), num_envs=2)
    assert env.reset(0).tolist() == [[1, 2]] * 2
    force = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    x, v = np.full(2, 1.0), np.full(2, 2.0)
    for _ in range(4):
        step = env.step(force)
        x, v, reward = by_hand(x, v, sign * force[:, 0].numpy())
        np.testing.assert_allclose(step.next_obs, np.stack([x, v], 1), rtol=1e-12)
        np.testing.assert_allclose(step.reward, reward, rtol=1e-9)
        assert not step.terminated.any()


@pytest.mark.parametrize("task", [Slider, Reversed])
def test_sequences_are_simulated_as_they_are_stepped(make, task):
    env = make(task())
    env.reset(0)
    forces = torch.tensor([0.3, -0.7, 1.0, 0.2], dtype=torch.float64).view(1, 4, 1)
    simulated, _ = env.simulate(env.env_state(), forces)
    for t in range(4):
        step = env.step(forces[:, t])
        np.testing.assert_allclose(simulated.next_obs[:, t], step.next_obs, rtol=1e-12)
        np.testing.assert_allclose(simulated.reward[:, t], step.reward, rtol=1e-9)


def test_an_episode_ends_where_the_task_says_or_at_its_last_step(make):
    env = make(Slider())
    env.reset(0)
    ends = [env.step(torch.ones(1, 1)).terminated.item() for _ in range(9)]
    x, v, _ = by_hand(1.0, 2.0, 1.0)
    count = 1
    while x <= 1.5:
        x, v, _ = by_hand(x, v, 1.0)
        count += 1
    assert ends.index(True) == count - 1
    assert env.max_episode_steps == 50 and env.action.low.tolist() == [-1]


def test_without_steering_controls_are_the_actions():
    action = np.array([[0.5]], np.float32)
    assert Slider().control({}, action) is action
    assert Slider.ends and not MujocoTask.steers and MujocoTask.fields == ()


def test_start_observation_and_outcome_must_be_written():
    assert MujocoTask.__abstractmethods__ == {"start", "observe", "outcome"}
    with pytest.raises(TypeError, match="abstract"):
        MujocoTask()


@pytest.mark.parametrize(
    ("actuator", "name"),
    [
        ('<motor joint="x"/>', "number 0"),
        ('<motor name="push" joint="x"/>', "push"),
        ('<motor name="far" joint="x" ctrlrange="-1e300 1e300"/>', "far"),
    ],
)
def test_an_actuator_without_bounds_is_refused_by_name(tmp_path, actuator, name):
    task = Slider()
    task.model_path = tmp_path / "slider.xml"
    start, end = MJCF.index("<motor"), MJCF.index("</actuator>")
    task.model_path.write_text(MJCF[:start] + actuator + MJCF[end:])
    with pytest.raises(BadInput, match=f"actuator {name} has the control range"):
        threaded_mujoco(task)


def test_what_does_not_fit_the_model_is_refused_by_name(make, tmp_path):
    for name, value in (("frame_skip", 0), ("max_episode_steps", 0)):
        task = Slider()
        setattr(task, name, value)
        with pytest.raises(BadInput, match=f"{name}=0: should be at least 1"):
            make(task)
    task = Slider()
    task.fields = ("xposs",)
    with pytest.raises(BadInput, match="fields: xposs should be the name of an array"):
        make(task)
    (tmp_path / "broken.xml").write_text("<mujoco>")
    for file in ("none.xml", "broken.xml"):
        task = Slider()
        task.model_path = tmp_path / file
        with pytest.raises(BadInput, match=f"model_path=.*{file}: MuJoCo cannot load it"):
            threaded_mujoco(task)


class Broken(Slider):
    """Slider of which one function fails for an environment that has come far enough."""

    def __init__(self, where: str, error: Exception | None = None):
        self.where, self.error, self.starts = where, error, 0

    def _fail(self, where, x):
        if where == self.where and (x > 1.15).any():
            raise self.error or ZeroDivisionError("division by zero")

    def start(self, qpos, qvel, generator):
        qpos[:] = 1 + 0.05 * self.starts
        self._fail("start", qpos + 0.06)  # the third environment
        self.starts += 1

    def observe(self, now):
        self._fail("observe", now["qpos"])
        return super().observe(now)

    def outcome(self, before, action, now, dt):
        self._fail("outcome", now["qpos"])
        return super().outcome(before, action, now, dt)

    @property
    def steers(self):
        return self.where == "control"

    def control(self, before, action):
        self._fail("control", before["qpos"] + 0.06)
        return action


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("where", ["start", "observe", "outcome", "control"])
def test_an_exception_in_a_task_names_environment_step_and_function(make, where, num_threads):
    env = make(Broken(where), num_envs=3, num_threads=num_threads)
    step = 0 if where == "start" else "[0-9]+"
    message = rf"environment 2, step {step}: {where}\(\) raised ZeroDivisionError: division"
    with pytest.raises(EnvironmentFault, match=message):
        env.reset(0)
        for _ in range(20):
            env.step(torch.ones(3, 1))


def test_an_exception_in_a_simulated_sequence_is_named(make):
    env = make(Broken("outcome"), num_envs=2)
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=r"environments, step 0: in a simulated sequence, "):
        env.simulate(env.env_state(), torch.ones(2, 40, 1))


class Wrong(Slider):
    """Slider that returns something else than it should."""

    def __init__(self, what: str):
        self.what = what

    def start(self, qpos, qvel, generator):
        return qpos + 1 if self.what == "start" else None

    def observe(self, now):
        obs = super().observe(now)
        return obs.T if self.what == "observation" and len(obs) == 3 else obs

    def outcome(self, before, action, now, dt):
        reward, ended = super().outcome(before, action, now, dt)
        if self.what == "reward":
            return reward[:, None], ended
        return (reward, ended * 1.0) if self.what == "terminated" else (reward, ended)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("start", r"start\(\) returned a value: it should write into qpos"),
        ("observation", r"the observation is float64 of shape \(2, 3\), not numbers of .*\(3, 2\)"),
        ("reward", r"the reward is float64 of shape \(3, 1\), not numbers of shape \(3,\)"),
        ("terminated", r"terminated is float64 of shape \(3,\), not bool of shape \(3,\)"),
    ],
)
def test_what_a_task_returns_is_checked(make, what, message):
    env = make(Wrong(what), num_envs=3)
    with pytest.raises(EnvironmentFault, match=message):
        env.reset(0)
        env.step(torch.ones(3, 1))


def test_a_step_before_the_first_reset_is_refused(make):
    env = make(Slider())
    with pytest.raises(BadInput, match=r"call reset\(\) first"):
        env.step(torch.ones(1, 1))
    again = make(Slider())
    env.reset(0)
    again.load_state_dict(env.state_dict())
    assert again.step(torch.ones(1, 1)).obs.equal(env.step(torch.ones(1, 1)).obs)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_copy_goes_on_as_the_other_does(make, num_threads):
    env = make(Slider(), num_envs=2, num_threads=num_threads)
    env.reset(0)
    force = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    env.step(force)
    env.simulate(env.env_state(), force[:, None])
    other = copy.deepcopy(env)
    ahead = [env.step(force) for _ in range(3)]
    behind = [other.step(force) for _ in range(3)]
    for a, b in zip(ahead, behind, strict=True):
        assert a.obs.equal(b.obs) and a.reward.equal(b.reward)
    assert not ahead[0].obs.equal(ahead[1].obs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_path": MJCF}, "model_path: MJCF itself should be the path of an MJCF file"),
        ({"model_path": None}, "model_path: a NoneType should be the path"),
        ({"observe": lambda now: np.zeros((len(now["qpos"]), 0))}, "observations of no number"),
        ({"task": Task(obs_names=("x",))}, "task.obs_names: 1 names, x, should be 2"),
        ({"task": {"reward": None}}, "task: a dict should be an mbrl.types.Task"),
    ],
)
def test_what_a_task_cannot_be_is_named(tmp_path, change, words):
    task = Slider()
    task.model_path = tmp_path / "slider.xml"
    task.model_path.write_text(MJCF)
    vars(task).update(change)
    with pytest.raises(BadInput, match=words) as caught:
        threaded_mujoco(task)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("timestep", ["0", "-0.01"])
def test_a_model_in_which_no_time_passes_is_refused(tmp_path, timestep):
    task = Slider()
    task.model_path = tmp_path / "slider.xml"
    task.model_path.write_text(MJCF.replace(f'timestep="{DT}"', f'timestep="{timestep}"'))
    with pytest.raises(BadInput, match=f"timestep is {timestep} s; should be above 0"):
        threaded_mujoco(task)


@pytest.mark.parametrize(("returned", "what"), [(None, "NoneType"), ((1, 2, 3), "tuple of 3")])
def test_an_outcome_that_is_no_pair_is_named(make, returned, what):
    task = Slider()
    vars(task)["outcome"] = lambda *arguments: returned
    env = make(task)
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=rf"step 1: outcome\(\) returned a {what}, not"):
        env.step(torch.ones(1, 1))


EXAMPLES = Path(__file__).parents[2] / "examples/own"
TASKS = {
    "hopper": tasks.Hopper,
    "hopper_v4_with_x": lambda: tasks.Hopper("v4", with_x=True),
    "walker2d": tasks.Walker2d,
    "halfcheetah": tasks.HalfCheetah,
    "swimmer": tasks.Swimmer,
    "inverted_pendulum": tasks.InvertedPendulum,
    "inverted_double_pendulum": tasks.InvertedDoublePendulum,
    "reacher": tasks.Reacher,
    "pusher": tasks.Pusher,
    "ant": tasks.Ant,
    "humanoid": tasks.Humanoid,
    "humanoid_standup": tasks.HumanoidStandup,
    "cartpole": tasks.CartpoleSwingup,
    "cartpole_sparse": lambda: tasks.CartpoleSwingup(sparse=True),
    "push": tasks.Push,
    "push_box_pose": lambda: tasks.Push("box", "pose"),
    "sort": tasks.Sort,
    "rope": tasks.Rope,
    "mjcf": lambda: tasks.Mjcf(
        EXAMPLES / "shove.xml",
        [{"body": "box", "target": [0.6, 0, 0.06]}, {"upright": "box"}, {"velocity": "*"}],
        control_weight=0.1,
    ),
    "mjcf_with_sensors": lambda: tasks.Mjcf(EXAMPLES / "arm.xml", [{"sensor": "hand"}]),
}


def test_the_list_of_tasks_is_whole():
    made = {type(make()) for make in TASKS.values()}
    named = {getattr(tasks, name) for name in tasks.__all__}
    assert made == {c for c in named if isinstance(c, type) and issubclass(c, MujocoTask)}


def random_fields(task, draws, rows=64):
    """Fields around the model's own posture, some of them out of every bound."""
    model = mujoco.MjModel.from_xml_path(str(task.model_path))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scale = np.geomspace(1e-2, 20, rows)
    fields = {}
    for name in ("qpos", "qvel", *task.fields):
        value = getattr(data, name)
        noise = draws.standard_normal((rows, *value.shape))
        fields[name] = value + noise * scale.reshape(-1, *[1] * value.ndim)
    return fields


def equations(task, before, action, now):
    """All that a task computes, by name."""
    reward, terminated = task.outcome(before, action, now, 0.01)
    return {
        "obs": task.observe(now),
        "reward": reward,
        "terminated": terminated,
        "control": task.control(before, action),
        **{f"start {name}": value for name, value in task.start_info(now).items()},
        **{
            f"step {name}": value
            for name, value in task.step_info(before, action, now, 0.01).items()
        },
    }


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_equations_are_those_of_numpy_in_torch(name, dtype, tolerance):
    task, draws = TASKS[name](), np.random.default_rng(0)
    before, now = random_fields(task, draws), random_fields(task, draws)
    nu = mujoco.MjModel.from_xml_path(str(task.model_path)).nu
    action = draws.uniform(-1, 1, (64, nu)).astype(dtype)
    fields = [{n: x.astype(dtype) for n, x in f.items()} for f in (before, now)]
    tensors = [{n: torch.from_numpy(x) for n, x in f.items()} for f in fields]
    ours = equations(task, tensors[0], torch.from_numpy(action), tensors[1])
    theirs = equations(task, fields[0], action, fields[1])
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert isinstance(value, torch.Tensor) and isinstance(theirs[key], np.ndarray), key
        assert value.shape == theirs[key].shape, key
        same = value.numpy()
        assert same.dtype.kind == theirs[key].dtype.kind, key
        if same.dtype.kind == "f":
            size = np.abs(theirs[key]).max()
            np.testing.assert_allclose(same, theirs[key], rtol=tolerance, atol=tolerance * size)
        else:
            np.testing.assert_array_equal(same, theirs[key])
